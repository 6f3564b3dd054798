package ledger

// Over returns by how many series a job is over the budget that its last claim
// named. Only what Load finds, or a budget that is lowered, brings it there, or
// what it borrows.
func (b *Book) Over(job string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if j := b.jobs[job]; j != nil {
		return j.over()
	}
	return 0
}

// Oldest returns the group of a job that was pushed to longest ago, and whether
// there is any.
func (b *Book) Oldest(job string) (GroupUse, bool) {
	r, _ := b.Job(job, 1)
	if len(r.Oldest) == 0 {
		return GroupUse{}, false
	}
	return r.Oldest[0], true
}

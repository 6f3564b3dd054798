// Package spool keeps what a Pushgateway that is away cannot take, and delivers it once
// it is back.
//
// A Spool stands before an upstream and is one itself. A write that the upstream does
// not answer, or not soon enough, is kept on disk and answered 202. What is kept of a
// group is its newest state, not its history: a PUT and a DELETE take the place of
// everything before them, a POST that of the families it brings. So the spool grows with
// the groups that are pushed to, not with the time that the upstream is away.
//
// # What is promised
//
// A write that was answered 202 survives the death of the process, and the loss of power
// as [state.Sync] has it. It is delivered, behind the writes of its group that came
// before it and before those that come after it, or refused by the upstream, which is
// told to [Spool.OnRefusal]. It may be delivered twice: to an upstream that took it and
// did not say so. A write of a group of which something waits never goes ahead of that.
//
// Where there is no room, or the disk takes nothing, a write fails as it would without a
// spool.
package spool

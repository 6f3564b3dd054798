package proxy

import (
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// findingsShown is how long a finding stays on the scraped page after the
	// push that had it: a run of most schedules, so that it does not flap between
	// the groups of a job.
	findingsShown = time.Hour
	// maxJobFindings bounds the series of pushguard_job_findings; those beyond
	// share the job otherJobs.
	maxJobFindings = 1000
)

// jobFindings are the latest findings of each job, for the page that Prometheus
// scrapes: most clients of a Pushgateway never show their users an answer. Safe
// for concurrent use.
type jobFindings struct {
	now func() time.Time

	mu     sync.Mutex
	latest map[jobFinding]seen
}

type jobFinding struct{ job, id string }

type seen struct {
	count int
	until time.Time
}

func newJobFindings(now func() time.Time) *jobFindings {
	return &jobFindings{now: now, latest: map[jobFinding]seen{}}
}

// note keeps what was found in a push of the job.
func (j *jobFindings) note(job string, found []finding.Finding) {
	if len(found) == 0 || job == "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	for _, f := range found {
		j.put(jobFinding{job, f.ID}, seen{f.Count, now.Add(findingsShown)}, now)
	}
}

func (j *jobFindings) put(k jobFinding, s seen, now time.Time) {
	if len(k.job) > maxJobName {
		k.job = otherJobs
	}
	if _, ok := j.latest[k]; !ok && len(j.latest) >= maxJobFindings {
		j.expire(now)
		if len(j.latest) >= maxJobFindings {
			k.job = otherJobs
		}
	}
	k.job, k.id = strings.Clone(k.job), strings.Clone(k.id)
	j.latest[k] = s
}

func (j *jobFindings) expire(now time.Time) {
	for k, s := range j.latest {
		if now.After(s.until) {
			delete(j.latest, k)
		}
	}
}

// len is how many series there are to show.
func (j *jobFindings) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.latest)
}

// family is what the page shows; nil if there is nothing to show.
func (j *jobFindings) family() *dto.MetricFamily {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.expire(j.now())
	if len(j.latest) == 0 {
		return nil
	}
	mf := &dto.MetricFamily{
		Name: proto.String(wire.JobFindings),
		Help: proto.String("What pushguard found in the latest push of a job that had it, within the last hour, by the finding's id."),
		Type: dto.MetricType_GAUGE.Enum(),
	}
	for k, s := range j.latest {
		mf.Metric = append(mf.Metric, &dto.Metric{
			Label: []*dto.LabelPair{
				{Name: proto.String("id"), Value: proto.String(k.id)},
				{Name: proto.String("job"), Value: proto.String(k.job)},
			},
			Gauge: &dto.Gauge{Value: proto.Float64(float64(s.count))},
		})
	}
	slices.SortFunc(mf.Metric, func(a, b *dto.Metric) int {
		if c := strings.Compare(a.Label[1].GetValue(), b.Label[1].GetValue()); c != 0 {
			return c
		}
		return strings.Compare(a.Label[0].GetValue(), b.Label[0].GetValue())
	})
	return mf
}

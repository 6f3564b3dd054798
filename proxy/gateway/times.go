package gateway

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// tolerated is how far an upstream's clock may be off before its times are
// corrected. Its Date header counts whole seconds, so less could not be told.
const tolerated = 2 * time.Second

// clock reads times that another clock wrote.
type clock struct {
	now   time.Time
	slack time.Duration // to be added to the other's times
}

// clockOf reads the header of an answer that has just come. An upstream's clock
// that is off is corrected, at most a second too much and never too little: what
// it wrote then looks younger rather than older.
func clockOf(h http.Header, now time.Time) clock {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return clock{now: now}
	}
	if slack := now.Sub(date); slack.Abs() > tolerated {
		return clock{now, slack}
	}
	return clock{now: now}
}

// time is the time of an upstream's stamp in seconds, never later than now. A
// stamp of 0 is none.
func (c clock) time(stamp float64) time.Time {
	const far = 1e12 // seconds
	switch {
	case stamp == 0:
		return time.Time{}
	case stamp > far:
		return c.now
	}
	whole, part := math.Modf(stamp)
	t := time.Unix(int64(whole), int64(part*1e9)).Add(c.slack)
	if t.After(c.now) {
		return c.now
	}
	return t
}

// stamp is one series of push_time_seconds or push_failure_time_seconds.
type stamp struct {
	labels []labels.Label
	value  float64
}

// readStamps reads {"metrics":[{"labels":{…},"value":"1.5e+09"}, …], …}. What has
// no such value has 0.
func readStamps(dec *json.Decoder) ([]stamp, error) {
	var stamps []stamp
	err := members(dec, func(name string) error {
		if name != "metrics" {
			return skip(dec)
		}
		return elements(dec, func() error {
			s, err := readStamp(dec)
			stamps = append(stamps, s)
			return err
		})
	})
	return stamps, err
}

func readStamp(dec *json.Decoder) (s stamp, err error) {
	err = members(dec, func(name string) error {
		switch name {
		case "labels":
			s.labels, err = readLabels(dec)
			return err
		case "value":
			t, err := dec.Token()
			if err != nil {
				return err
			}
			text, _ := t.(string)
			s.value = seconds(text)
			return closing(dec, t)
		default:
			return skip(dec)
		}
	})
	return s, err
}

// seconds is 0 for what is no time.
func seconds(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v > 0) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// ownStamp is the value of the series that a Pushgateway itself keeps for the
// group: a client that pushes push_failure_time_seconds can add others to it.
func ownStamp(key wire.Key, stamps []stamp) float64 {
	for _, s := range stamps {
		if isOwn(key, s.labels) {
			return s.value
		}
	}
	return 0
}

// isOwn reports whether the labels are those of the group and the instance that
// a Pushgateway adds where there is none.
func isOwn(key wire.Key, ls []labels.Label) bool {
	want := len(key.Labels())
	if _, ok := key.Get(model.InstanceLabel); !ok {
		want++
	}
	for _, l := range ls {
		if v, ok := key.Get(l.Name); v != l.Value || !ok && l.Name != model.InstanceLabel {
			return false
		}
	}
	return len(ls) == want
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// longestFault bounds how long one fault goes on.
const longestFault = 15 * time.Second

// play is the part of one stage, from its start to its end.
func play(ctx context.Context, o options, dir, name string, tell *teller) error {
	s, err := newStage(name, o, dir)
	if err != nil {
		return err
	}
	defer s.close()
	gateway := name == "gateway"
	if err := s.raise(ctx, gateway); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	begun := time.Now()
	background.Go(func() { s.load.run(ctx, o.rate, gateway) })
	background.Go(func() { s.load.scrape(ctx, isTotal) })
	background.Go(func() { s.watch.run(ctx, s) })
	for _, f := range program(o, gateway) {
		if err := s.suffer(ctx, o, f, tell); err != nil {
			return err
		}
	}
	took := time.Since(begun)
	cancel()
	background.Wait()
	if wrong := s.load.complaints(); len(wrong) > 0 {
		return s.failure(errors.New(strings.Join(wrong, "\n")))
	}
	return s.sum(begun, took, tell)
}

// isTotal reports whether a series is one of a job that only grows.
func isTotal(id string) bool { return strings.Contains(id, `_total"`) && jobOf(id) != "" }

// program is one fault for each turn. The guard is killed in every other turn of the
// first fifth and in the last one, and lives on in between.
func program(o options, gateway bool) []fault {
	faults := slices.Concat(both, alone)
	if gateway {
		faults = slices.Concat(both, beyond)
	}
	var kills, others []fault
	for _, f := range faults {
		if !strings.Contains(f.name, o.only) {
			continue
		}
		if f.kills {
			kills = append(kills, f)
		} else {
			others = append(others, f)
		}
	}
	if len(others) == 0 {
		others = []fault{{"nothing", false, func(*stage, context.Context, time.Duration) error { return nil }}}
	}
	dice := rand.New(rand.NewPCG(o.seed, 0))
	var program, rest []fault
	turns := int(o.length / o.every())
	for turn := range turns {
		if len(kills) > 0 && (turn < turns/5 && turn%2 == 1 || turn == turns-1) {
			program = append(program, kills[turn%len(kills)])
			continue
		}
		if len(rest) == 0 {
			rest = slices.Clone(others)
			dice.Shuffle(len(rest), func(i, k int) { rest[i], rest[k] = rest[k], rest[i] })
		}
		program, rest = append(program, rest[0]), rest[1:]
	}
	return program
}

// suffer has one fault in its turn, and looks what is left of the stage.
func (s *stage) suffer(ctx context.Context, o options, f fault, tell *teller) error {
	end := time.Now().Add(o.every())
	wait(ctx, o.every()/4)
	err := f.do(s, ctx, min(longestFault, o.every()/3))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	name := f.name
	if errors.Is(err, errSkipped) {
		name, err = fmt.Sprintf("no %s: %v", f.name, err), nil
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.name, f.name, err)
	}
	s.past = append(s.past, name)
	if err := s.check(ctx); err != nil {
		return err
	}
	memory, err := s.guard.Memory()
	if err != nil {
		return err
	}
	tell.say("%-9s %-33s %7d answered %6d again  %4d MiB, %v", s.name, name, s.load.answered.Load(), s.load.retried.Load(), memory>>20, s.watch.last)
	wait(ctx, time.Until(end))
	return context.Cause(ctx)
}

// sum tells what it came to.
func (s *stage) sum(begun time.Time, took time.Duration, tell *teller) error {
	second, last, err := s.watch.memory(begun, took)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	total := 0.0
	for id, v := range s.model.totals {
		if isTotal(id) {
			total += v
		}
	}
	tell.say("%s: %d pushes answered, %d times again; answers %v (0: none)", s.name, s.load.answered.Load(), s.load.retried.Load(), s.load.statuses)
	tell.say("%s: %d faults; %d groups and totals of %.0f stand as they must; memory %d MiB in the second fifth, %d in the last",
		s.name, len(s.past), len(s.model.groups), total, second>>20, last>>20)
	return flat(second, last)
}

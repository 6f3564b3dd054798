package proxy

import (
	"context"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Mover is what is behind where that is several Pushgateways: groups that are not where
// they belong move there. *fleet.Fleet is one.
type Mover interface {
	// Move makes one pass; left is how many groups are yet to move of which nothing could
	// be done if done is 0. Nothing may be written to a group from hold to release.
	Move(ctx context.Context, hold func(context.Context, wire.Key) (release func(), ok bool)) (done, left int)
}

const (
	// moveEvery is how often it is looked whether groups are to move, and lastMove how
	// rarely, where what is in the way stays.
	moveEvery, lastMove = time.Second, time.Minute
	// holdTime is how long a move waits for a group that is being pushed to.
	holdTime = time.Second
)

// keepMoving moves groups to where they belong until ctx ends. One guard of a fleet does.
func (g *Guard) keepMoving(ctx context.Context) {
	wait := moveEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if !g.known() || !g.cfg.Fleet.Leads() {
			continue
		}
		if done, left := g.cfg.Mover.Move(ctx, g.hold); done == 0 && left > 0 {
			wait = min(2*wait, lastMove)
		} else {
			wait = moveEvery
		}
	}
}

// waiter is an upstream that keeps writes for later.
type waiter interface{ Waits(wire.Key) bool }

// hold takes a group, unless it is being pushed to or a push of it waits to be delivered.
func (g *Guard) hold(ctx context.Context, key wire.Key) (release func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	release, err := g.book.Hold(ctx, key)
	if err != nil {
		return nil, false
	}
	if w, keeps := g.cfg.Upstream.(waiter); keeps && w.Waits(key) {
		release()
		return nil, false
	}
	return release, true
}

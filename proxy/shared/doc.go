// Package shared puts what several guards do into one order, which a Redis keeps,
// so that they know the same and decide as one.
//
// Each guard has a replica of each Room: a ledger, counters. A command is plain
// data, such as a claim. It takes effect when it has its place in the order, and
// then on every guard, by the same code, at the same time of the order's clock. So
// what a room decides about a command it decides alike everywhere, and the guard
// that asked knows the answer as soon as it has applied all up to there. There is
// no second engine, and nothing to compare: the order is the lock.
//
// # One round trip
//
// A guard gathers the commands of all its pushes that wait, and one script (Append)
// does all the rest in one step: it gives them the next place and the time, and
// returns what others have put before them. A guard that has nothing to say looks
// for news ten times a second.
//
// # What Redis keeps
//
// A head (epoch, last place, time, what its clock showed then, secret), a stream of commands, and now and then
// what the rooms have come to, written by the guard that leads; what is older than
// the snapshot before goes. All keys of one fleet have one hash tag, and end a week
// after the last guard has.
//
// # Who is there
//
// A guard that is not heard of for a lease has left: all guards notice at the same
// place in the order, and the rooms end what it had begun. Of those that are there
// the one that came first leads.
//
// # When Redis is away
//
// Do fails with ErrAway, at once from the second time on, and what was Posted
// waits. A Redis that comes back and has forgotten, wholly or what came last, is
// given what the guard knows that has seen most of the order.
package shared

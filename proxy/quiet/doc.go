// Package quiet tells whether the peer of an open connection has been heard of, without
// reading: one that is about to be used again may have ended, and one that is about to be
// closed may have a request in it.
package quiet

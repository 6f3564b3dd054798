// Package counter turns the counters that batch jobs push into exact increments.
package counter

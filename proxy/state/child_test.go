package state

// children are the parts that the test binary plays.
var children = map[string]func(args []string){}

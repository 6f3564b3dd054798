// Package deploy holds the files that pushguard ships and that the program itself
// uses, so that what is shipped is what runs.
package deploy

import _ "embed"

// ExamplePolicy is policy.example.yml, the policy of a guard that is given none.
//
//go:embed policy.example.yml
var ExamplePolicy []byte

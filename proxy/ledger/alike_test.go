package ledger

import (
	"net/http"
	"testing"
)

// TestGroupsThatHoldTheSameShareMemory: one that changes leaves the others as they were.
func TestGroupsThatHoldTheSameShareMemory(t *testing.T) {
	b := NewBook(Config{})
	first, second, other := key("job", "a", "run", "1"), key("job", "a", "run", "2"), key("job", "a", "run", "3")
	admit(t, b, push(http.MethodPut, first, Budget{}, "x", "y")).Settle(Applied)
	admit(t, b, push(http.MethodPut, other, Budget{}, "z")).Settle(Applied)
	admit(t, b, push(http.MethodPut, second, Budget{}, "x", "y")).Settle(Applied)
	same := func() bool { return &b.find(first).content[0] == &b.find(second).content[0] }
	if !same() {
		t.Error("two groups that hold the same do not share its memory")
	}
	if n := b.find(other).content.series(); n != 1 {
		t.Errorf("the group between them holds %d series, want 1", n)
	}
	admit(t, b, push(http.MethodPost, second, Budget{}, "x", "y", "z")).Settle(Applied)
	if same() {
		t.Error("a group that changed shares the memory of one that did not")
	}
	if a, b := b.find(first).content.series(), b.find(second).content.series(); a != 2 || b != 3 {
		t.Errorf("the groups hold %d and %d series, want 2 and 3", a, b)
	}
	admit(t, b, push(http.MethodPut, second, Budget{}, "x", "y")).Settle(Applied)
	if !same() {
		t.Error("a group that holds the same again does not share its memory")
	}
}

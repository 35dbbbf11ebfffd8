package datasets

import (
	"sync"

	"github.com/onetrunk/onetrunk/tokenizers"
)

// cache keeps tokens until it is full, and then what it has: passes over the
// data ask for every cell about equally often, so no other choice would be
// met more often.
type cache struct {
	mu     sync.RWMutex
	left   int64 // bytes
	tokens map[Cell]tokenizers.Tokens
}

func (c *cache) get(k Cell) (tokenizers.Tokens, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.tokens[k]
	return t, ok
}

func (c *cache) put(k Cell, t tokenizers.Tokens) {
	// 160 bytes: a key and a value in a map that is not quite full.
	bytes := 160 + 4*int64(len(t.IDs)+len(t.Patches))
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.tokens[k]; ok || bytes > c.left {
		return
	}
	c.left -= bytes
	c.tokens[k] = t
}

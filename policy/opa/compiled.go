package opa

import (
	"strings"
	"sync"

	"github.com/gobwas/glob"
	"github.com/open-policy-agent/opa/v1/ast"
	builtins "github.com/open-policy-agent/opa/v1/topdown/cache"
)

// compiled holds the globs and regular expressions of a program, so that each is compiled once. OPA would keep them
// for the whole process, and would confuse some globs: the name of "user.*" with the delimiter "-" is that of
// "user.*-" without a delimiter. The policy of one tenant would then change the decisions of another one.
type compiled struct {
	mu   sync.RWMutex
	kept map[string]any // guarded by mu
}

var _ builtins.InterQueryValueCache = (*compiled)(nil)

// compiledMax is the maximum number of entries; others are dropped beyond it.
const compiledMax = 4096

func (c *compiled) Get(name ast.Value) (any, bool) {
	s, _ := name.(ast.String)
	c.mu.RLock()
	defer c.mu.RUnlock()
	x, found := c.kept[string(s)]
	return x, found
}

// Insert stores x, unless another pattern may have the same name. The name of a glob is its text, a - and its
// delimiters.
func (c *compiled) Insert(name ast.Value, x any) int {
	s, ok := name.(ast.String)
	if _, isGlob := x.(*glob.Pattern); !ok || isGlob && strings.Count(string(s), "-") != 1 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = make(map[string]any)
	}
	dropped := 0
	for other := range c.kept {
		if len(c.kept) < compiledMax {
			break
		}
		delete(c.kept, other)
		dropped++
	}
	c.kept[string(s)] = x
	return dropped
}

func (c *compiled) Delete(name ast.Value) {
	s, _ := name.(ast.String)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, string(s))
}

// GetCache returns nil, since there are no other caches.
func (c *compiled) GetCache(string) builtins.InterQueryValueCacheBucket { return nil }

func (c *compiled) UpdateConfig(*builtins.Config) {}

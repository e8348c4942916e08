package log

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"sessionserver/storage"
)

// sector is the unit in which a disk keeps or loses what was not synced.
const sector = 4 << 10

// disk is a folder in memory that can lose power. Content that was not synced is then kept or lost, each sector and
// each change of a name by itself.
type disk struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode // names after the last sync of the folder
	changes []func(map[string]*inode)
	fault   func(op, name string) error // may refuse a change; called with mu held
	gone    bool                        // power was lost: nothing changes any more
	locked  bool

	capacity int // bytes of all files, 0 for no limit
}

func (d *disk) size() (n int) {
	for _, i := range d.names {
		n += len(i.content)
	}
	return n
}

// grow refuses more bytes than the disk has room for. The caller holds mu.
func (d *disk) grow(more int) error {
	if d.capacity > 0 && more > 0 && d.size()+more > d.capacity {
		return syscall.ENOSPC
	}
	return nil
}

// inode is the content of a file.
type inode struct {
	content []byte
	durable []byte       // after the last sync
	dirty   map[int]bool // sectors changed since then
}

func newDisk() *disk { return &disk{names: map[string]*inode{}, durable: map[string]*inode{}} }

// powerFailure returns a disk with what is left, and freezes this one.
func (d *disk) powerFailure(r *rand.Rand) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	left := newDisk()
	names := maps.Clone(d.durable)
	for _, change := range d.changes {
		if r.IntN(2) == 0 {
			change(names)
		}
	}
	seen := map[*inode]*inode{}
	for name, n := range names {
		if seen[n] == nil {
			content := bytes.Clone(n.durable)
			if r.IntN(2) == 0 && len(n.content) > len(content) { // its new size is kept
				content = append(content, make([]byte, len(n.content)-len(content))...)
			}
			for s := range n.dirty {
				if from, to := s*sector, min((s+1)*sector, len(n.content)); r.IntN(2) == 0 && from < to &&
					from < len(content) {
					copy(content[from:min(to, len(content))], n.content[from:to])
				}
			}
			seen[n] = &inode{content: content, durable: bytes.Clone(content), dirty: map[int]bool{}}
		}
		left.names[name] = seen[n]
	}
	left.durable = maps.Clone(left.names)
	return left
}

// kill returns a disk as the kernel has it when the process ends, and freezes this one.
func (d *disk) kill() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	return d.copy()
}

// copy returns a disk with everything that the kernel has. The caller holds mu.
func (d *disk) copy() *disk {
	left := newDisk()
	for name, n := range d.names {
		left.names[name] = &inode{content: bytes.Clone(n.content), durable: bytes.Clone(n.durable),
			dirty: maps.Clone(n.dirty)}
	}
	left.durable = maps.Clone(left.names)
	return left
}

// copyAtSyncs returns a function that returns a copy of the disk before each sync of a file so far: what is left when
// the process ends there.
func (d *disk) copyAtSyncs() (copies func() []*disk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*disk
	d.fault = func(op, _ string) error {
		if op == "syncfile" {
			all = append(all, d.copy())
		}
		return nil
	}
	return func() []*disk { return all }
}

var errGone = errors.New("the power is off")

// check refuses an operation. The caller holds mu.
func (d *disk) check(op, name string) error {
	if d.gone {
		return errGone
	}
	if d.fault != nil {
		return d.fault(op, name)
	}
	return nil
}

func (d *disk) change(c func(map[string]*inode)) {
	c(d.names)
	d.changes = append(d.changes, c)
}

func (d *disk) Open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	n := d.names[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &handle{disk: d, name: name, inode: n}, nil
}

func (d *disk) Create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	n := &inode{dirty: map[int]bool{}}
	d.change(func(names map[string]*inode) { names[name] = n })
	return &handle{disk: d, name: name, inode: n}, nil
}

func (d *disk) Rename(old, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("rename", name); err != nil {
		return err
	}
	n := d.names[old]
	if n == nil {
		return fs.ErrNotExist
	}
	d.change(func(names map[string]*inode) {
		if names[old] == n {
			delete(names, old)
		}
		names[name] = n
	})
	return nil
}

func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("remove", name); err != nil {
		return err
	}
	n := d.names[name]
	if n == nil {
		return fs.ErrNotExist
	}
	d.change(func(names map[string]*inode) {
		if names[name] == n {
			delete(names, name)
		}
	})
	return nil
}

func (d *disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), d.check("list", "")
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("sync", ""); err != nil {
		return err
	}
	d.durable, d.changes = maps.Clone(d.names), nil
	return nil
}

func (d *disk) Lock() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return storage.ErrLocked
	}
	d.locked = true
	return nil
}

func (d *disk) Present() error { return nil }

func (d *disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked = false
	return nil
}

// handle is an open file of a disk.
type handle struct {
	disk   *disk
	name   string // when it was opened
	inode  *inode
	closed bool
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return 0, fs.ErrClosed
	}
	if off >= int64(len(h.inode.content)) {
		return 0, io.EOF
	}
	n := copy(b, h.inode.content[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.check("write", h.name); err != nil {
		return 0, err
	}
	if end := int(off) + len(b); end > len(h.inode.content) {
		if err := h.disk.grow(end - len(h.inode.content)); err != nil {
			return 0, err
		}
		h.inode.content = append(h.inode.content, make([]byte, end-len(h.inode.content))...)
	}
	copy(h.inode.content[off:], b)
	for s := int(off) / sector; s <= (int(off)+len(b)-1)/sector; s++ {
		h.inode.dirty[s] = true
	}
	return len(b), nil
}

func (h *handle) Size() (int64, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return int64(len(h.inode.content)), nil
}

func (h *handle) Allocate(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.check("allocate", h.name); err != nil {
		return err
	}
	if more := int(size) - len(h.inode.content); more > 0 {
		if err := h.disk.grow(more); err != nil {
			return err
		}
		h.inode.content = append(h.inode.content, make([]byte, more)...)
	}
	return nil
}

func (h *handle) Truncate(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.check("truncate", h.name); err != nil {
		return err
	}
	if int(size) < len(h.inode.content) {
		h.inode.content = h.inode.content[:size]
	}
	return nil
}

func (h *handle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.check("syncfile", h.name); err != nil {
		return err
	}
	h.inode.durable, h.inode.dirty = bytes.Clone(h.inode.content), map[int]bool{}
	return nil
}

func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.closed = true
	return nil
}

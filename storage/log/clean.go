package log

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"sessionserver/storage"
)

// toClean returns the oldest segment if too much of the log is dead.
func (l *log) toClean() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := *l.segments.Load()
	if len(all) < 2 || all[0].end == 0 || l.failed != nil {
		return nil
	}
	oldest, size := all[0], int64(all[len(all)-1].size)
	bound := max(2*l.live, l.live+4*size)
	left := l.next.size
	if p := l.page; p != nil {
		left += p.segment.size - p.offset - p.used
	}
	if left+l.reserve.size < oldest.copyBytes() { // until there is a reserve, or enough has expired
		return nil
	}
	total := l.total
	if l.noSpare != nil { // what is dead is room; what the ends of pages waste is not
		urgent := l.urgentBytes()
		total, bound = 0, l.live+int64(urgent)/2
		// deletions soon find no room: every little helps
		if left+l.spareBytes()-l.next.size-l.mostCopyBytes() < urgent/2 || left < urgent/2 {
			bound = l.live + int64(urgent)/32
		}
		for _, s := range all {
			total += s.content
		}
	}
	if total <= bound {
		return nil
	}
	return oldest
}

// cleanBatch is how many bytes the cleaner appends before it waits for them to be durable.
const cleanBatch = 256 << 10

// cleanWhole cleans a segment. On a full disk it does so to the end, for the rest of a half-copied segment may have no
// room after the next start.
func (e *engine) cleanWhole(ctx context.Context, s *segment) error {
	e.log.mu.Lock()
	full := e.log.noSpare != nil
	e.log.mu.Unlock()
	if full {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
	}
	return e.clean(ctx, s)
}

// clean appends the frames of a segment again to which the index still points, and then removes the segment. It is
// the oldest, so that nothing older can come back with its frames gone.
func (e *engine) clean(ctx context.Context, s *segment) error {
	l := &e.log
	l.setCleaning(true)
	defer l.setCleaning(false)
	k, err := readKeys(l.files, s.number, l.seal)
	if err != nil {
		if k, err = e.collectKeys(s); err != nil {
			return err
		}
	}
	var g *group
	batch := 0
	for i := range k.len() {
		en := k.at(i)
		if en.kind != kindRecord && en.kind != kindDamaged {
			continue
		}
		t := e.tenants.lookup(k.tenants[en.tenant])
		if t == nil {
			continue
		}
		r, ok, err := e.copyRecord(ctx, t, &en, at(s.number, en.offset))
		if err != nil {
			return errors.Join(err, e.commitIfAny(g))
		}
		if !ok {
			continue
		}
		batch += len(r.buf)
		if g != nil && (g != r.group || batch > cleanBatch) {
			if err := l.commit(g); err != nil {
				return err
			}
			batch = 0
		}
		g = r.group
	}
	if err := e.commitIfAny(g); err != nil {
		return err
	}
	if err := l.settleAll(ctx); err != nil {
		return err
	}
	return e.retire(s)
}

// setCleaning states whether the oldest segment is being cleaned.
func (l *log) setCleaning(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleaning = is
	l.change()
}

// settleAll returns when everything that has been appended is durable, in every mode. A frame must not go before the
// one that has made it dead is durable.
func (l *log) settleAll(ctx context.Context) error {
	l.mu.Lock()
	if l.failed != nil || l.page == nil {
		defer l.mu.Unlock()
		return l.failed
	}
	var last *group
	if n := len(l.groups); n > 0 {
		last = l.groups[n-1]
	}
	newest := l.page.segment
	l.mu.Unlock()
	if last != nil {
		if err := l.wait(ctx, last); err != nil {
			return err
		}
	}
	if err := l.sync(newest); err != nil {
		l.fail(err)
		return err
	}
	return nil
}

func (e *engine) commitIfAny(g *group) error {
	if g == nil {
		return nil
	}
	return e.log.commit(g)
}

// copyRecord appends the record at p again if the index points there. One that has
// expired counts in the usage of its tenant until it is swept, so it is copied like others.
func (e *engine) copyRecord(ctx context.Context, t *tenant, en *entry, p position) (r room, ok bool, err error) {
	key := storage.Key{Tenant: t.name, ID: en.id}
	sh := e.shard(&en.id)
	sh.mu.Lock()
	s := sh.find(&en.id, t.number)
	if s == nil || s.pos != p || t.absent(s) {
		sh.mu.Unlock()
		return room{}, false, nil
	}
	sh.mu.Unlock()
	f := frame{kind: kindRecord, id: en.id, size: en.size}
	data, err := e.read(p, &key, en.size, en.kind == kindDamaged)
	switch {
	case errors.Is(err, storage.ErrCorrupt): // stays so until it is written again
		f.kind, f.size = kindDamaged, 0
	case err != nil:
		return room{}, false, err
	}
	f.dataSum = dataSum(data)
	for {
		r, ok, err = e.tryCopy(t, &f, data, p)
		if err == nil {
			return r, ok, nil
		}
		if err := e.log.await(ctx, err); err != nil {
			return room{}, false, err
		}
	}
}

func (e *engine) tryCopy(t *tenant, f *frame, data []byte, p position) (r room, ok bool, err error) {
	sh := e.shard(&f.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l := &e.log
	l.mu.Lock()
	defer l.mu.Unlock()
	s := sh.find(&f.id, t.number)
	if s == nil || s.pos != p || t.absent(s) {
		return room{}, false, nil // it was written or deleted meanwhile
	}
	r, err = l.claim(frameLength(len(t.name), f.size), cleaning)
	if err != nil {
		return room{}, false, err
	}
	f.expires, f.data, f.flags = s.expires(), data, 0
	if s.is(slotMarker) {
		f.flags = flagMarker
	}
	l.put(&r, f, t.name)
	e.set(sh, s, t, f, r.pos)
	return r, true, nil
}

// retire removes the oldest segment, of which every live record has been copied. Its file becomes a spare.
func (e *engine) retire(s *segment) error {
	l := &e.log
	l.mu.Lock()
	l.setSegments((*l.segments.Load())[1:])
	l.total -= int64(s.size)
	kept := l.tail[:0]
	for _, p := range l.tail {
		if p.segment == s {
			l.tailBytes -= len(p.buf)
			s.hide(p)
		} else {
			kept = append(kept, p)
		}
	}
	l.tail = kept
	largest := l.largest()
	recycle := s.size <= 2*largest && (l.reserve.size < largest || l.next.file == nil)
	l.mu.Unlock()
	_ = s.file.Close() // it was only read
	sp, err := l.recycle(s, recycle)
	if err != nil {
		l.fail(err) // while the file may be there, no newer one may go
		return err
	}
	l.mu.Lock()
	unused := l.addSpare(sp)
	l.tooLarge = 0
	l.change()
	l.mu.Unlock()
	signal(l.wakeSpare)
	l.removeSpare(unused)
	return nil
}

// recycle removes the files of a segment, and makes its file a spare if that is wanted. The folder is synced, so that
// the segment cannot come back when newer ones are gone.
func (l *log) recycle(s *segment, wanted bool) (sp spare, err error) {
	if err := l.files.Remove(keysName(s.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return spare{}, err
	}
	if !wanted {
		if err := l.files.Remove(segmentName(s.number)); err != nil {
			return spare{}, err
		}
		return spare{}, l.files.Sync()
	}
	name := segmentName(s.number) + spareSuffix
	if err := l.files.Rename(segmentName(s.number), name); err != nil {
		return spare{}, err
	}
	if err := l.files.Sync(); err != nil {
		return spare{}, err
	}
	sp, err = l.openSpare(name)
	if err != nil {
		return spare{}, nil // another one will be made
	}
	return sp, nil
}

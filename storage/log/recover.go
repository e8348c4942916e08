package log

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"

	"sessionserver/storage"
)

// resume is where an engine continues after a failure: what lies behind offset in the segment was handed to the disk,
// and may or may not be there after a power failure.
type resume struct {
	segment uint64
	offset  int
	scanned bool
	frames  []unsyncedFrame // behind offset, as the first attempt to open the folder has found them
}

// openEngine opens the folder. It replays the log into a new index; see the package documentation.
func openEngine(o *Options, folder files, r *resume, counts *counts, damaged func(uint64, int)) (_ *engine, err error) {
	e := &engine{opts: o, index: newIndex(o.IndexGrown), counts: counts, damaged: damaged}
	l := &e.log
	l.opts, l.files = o, folder
	l.expiries = make(expiries)
	l.changed, l.broken = make(chan struct{}), make(chan struct{})
	l.wakeSpare, l.wakeSeal = make(chan struct{}, 1), make(chan struct{}, 1)
	l.buffers.unit = o.layout.page
	l.retries = o.layout.retry
	l.segments.Store(&segments{})
	e.log.committed.Store(uint64(at(o.layout.first, 0)))
	defer func() {
		if err != nil {
			e.release()
		}
	}()
	names, err := folder.List()
	if err != nil {
		return nil, err
	}
	if l.seal, err = openFormat(folder, names, o.layout.page); err != nil {
		return nil, err
	}
	if err := e.openFiles(names); err != nil {
		return nil, err
	}
	unsynced, err := e.replay(r)
	if err != nil {
		return nil, err
	}
	e.settle()
	if n := len(*l.segments.Load()); n > 0 {
		l.committed.Store(uint64(at((*l.segments.Load())[n-1].number+1, 0)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	e.jobs.Go(func() { e.prepareSpares(ctx) })
	if err := e.relocate(ctx, unsynced); err != nil {
		return nil, err
	}
	e.jobs.Go(func() { e.sealAndClean(ctx) })
	e.jobs.Go(func() { e.tick(ctx) })
	return e, nil
}

// halt ends the goroutines.
func (e *engine) halt() {
	if e.stop != nil {
		e.stop()
	}
	e.jobs.Wait()
}

// release ends the goroutines, closes the files and frees the memory of the index.
func (e *engine) release() {
	e.halt()
	for _, s := range *e.log.segments.Load() {
		_ = s.file.Close() // synced, or failed before
	}
	for _, sp := range []spare{e.log.next, e.log.reserve} {
		if sp.file != nil {
			_ = sp.file.Close() // nothing is in it
		}
	}
	e.index.release()
}

const formatName = "FORMAT"

// formatText is the content of FORMAT, followed by its checksum: the version of the format, the store's id and the
// size of a page.
const formatText = "sessionserver log 1\nstore %s\npage %d\n"

const formatSum = "sum %08x\n"

// openFormat reads FORMAT, or writes it in a new folder, and returns the seal of the store.
func openFormat(folder files, names []string, page int) (seal, error) {
	content, err := readFile(folder, formatName)
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range names {
			if _, ok := parseName(name, ".seg"); ok {
				return 0, fmt.Errorf("%w: the folder has segments and no file %s; restore the folder from a backup",
					storage.ErrCorrupt, formatName)
			}
		}
		content = fmt.Appendf(nil, formatText, rand.Text(), page)
		content = fmt.Appendf(content, formatSum, dataSum(content))
		if err := writeFile(folder, formatName+".tmp", content); err != nil {
			return 0, err
		}
		if err := folder.Rename(formatName+".tmp", formatName); err != nil {
			return 0, err
		}
		return newSeal(content), folder.Sync()
	}
	if err != nil {
		return 0, err
	}
	var store string
	var size int
	if _, err := fmt.Sscanf(string(content), formatText, &store, &size); err != nil {
		return 0, fmt.Errorf("%w: the file %s is not of this version of the program: %q", storage.ErrCorrupt,
			formatName, content)
	}
	text := fmt.Appendf(nil, formatText, store, size)
	if string(content) != string(fmt.Appendf(text, formatSum, dataSum(text))) {
		return 0, fmt.Errorf("%w: the file %s does not match its checksum; restore the folder from a backup",
			storage.ErrCorrupt, formatName)
	}
	if size != page {
		return 0, fmt.Errorf("the file %s has pages of %d bytes, and this program has pages of %d", formatName, size,
			page)
	}
	return newSeal(content), nil
}

// openFiles opens the segments, and removes what a crash has left.
func (e *engine) openFiles(names []string) error {
	l := &e.log
	var all segments
	defer func() { l.setSegments(all) }()
	for _, name := range names {
		if number, ok := parseName(name, ".seg"); ok {
			f, err := l.files.Open(name)
			if err != nil {
				return err
			}
			size, err := f.Size()
			if err != nil {
				return errors.Join(err, f.Close())
			}
			unit := int64(l.opts.layout.page)
			s := newSegment(number, f, int((size+unit-1)/unit*unit), int(unit))
			all = append(all, s)
			l.total += int64(s.size)
		}
	}
	for i, s := range all {
		if want := all[0].number + uint64(i); s.number != want && !l.opts.AcceptLoss {
			return fmt.Errorf("%w: the file %s is missing", storage.ErrCorrupt, segmentName(want))
		}
	}
	for _, name := range names {
		number, isKeys := parseName(name, ".keys")
		_, isSegment := parseName(name, ".seg")
		switch {
		case isSegment, isKeys && all.find(number) != nil, name == formatName, name == lockName:
		case strings.HasSuffix(name, spareSuffix):
			sp, err := l.openSpare(name)
			if err != nil {
				return err
			}
			l.removeSpare(l.addSpare(sp))
		case isKeys, strings.HasSuffix(name, ".tmp"):
			if err := l.files.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // FORMAT.tmp was renamed
				return err
			}
		}
	}
	return nil
}

// replay applies all frames in the order of the log. It completes the newest segment, which a crash may have left
// without its end. After a failure it returns the frames that may not be durable.
func (e *engine) replay(r *resume) (unsynced []unsyncedFrame, err error) {
	all := *e.log.segments.Load()
	for i := len(all) - 1; i >= 0; i-- {
		if k, err := readKeys(e.log.files, all[i].number, e.log.seal); err == nil {
			e.presize(k.records)
			break
		}
	}
	for i, s := range all {
		newest := i == len(all)-1
		var k *keys
		if r != nil && s.number > r.segment { // it has nothing, or copies of r.frames by an attempt that has failed
			if err := e.complete(s, 0); err != nil {
				return nil, err
			}
			s.written.Store(int64(s.size))
			s.synced.Store(int64(s.size))
			continue
		}
		if r == nil || r.segment != s.number {
			if k, err = readKeys(e.log.files, s.number, e.log.seal); err == nil && k.end() > s.size {
				k, err = nil, fmt.Errorf("%w: the segment is shorter", errKeys)
			}
			if err == nil {
				s.keyed.Store(true)
				s.end = s.size
			} else if !errors.Is(err, fs.ErrNotExist) {
				e.opts.Logger.Warn("storage: a table of keys cannot be read; its segment is read instead",
					"file", keysName(s.number), "err", err)
			}
		}
		if k == nil {
			if k, err = e.scan(s, newest, r); err != nil {
				return nil, err
			}
		}
		e.applyAll(s, k)
		if r != nil && r.segment == s.number {
			unsynced = r.frames
			k, numbers := &keys{}, make(map[string]int)
			for i := range unsynced {
				k.add(&unsynced[i].frame, unsynced[i].pos.offset(), numbers)
			}
			content := s.content
			e.applyAll(s, k)
			s.content = content // they are cut off
		}
		s.written.Store(int64(s.size))
		s.synced.Store(int64(s.size))
	}
	return unsynced, nil
}

// presize makes the index large enough for the number of records, so that it does not grow step by step.
func (e *engine) presize(records uint64) {
	if records < 64*shardCount {
		return
	}
	for i := range e.index.shards {
		// it grows later if this fails
		_ = e.index.shards[i].grow(int(records/shardCount*110/100)+16, e.opts.MaxIndexBytes)
	}
}

// applyAll applies the frames of a segment: two goroutines, each with half of the shards.
func (e *engine) applyAll(s *segment, k *keys) {
	tenants := make([]*tenant, len(k.tenants))
	for i, name := range k.tenants {
		tenants[i] = e.tenants.get(name)
	}
	for i := range k.len() {
		en := k.at(i)
		s.content += int64(frameLength(len(k.tenants[en.tenant]), en.size))
	}
	workers := min(2, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range k.len() {
				en := k.at(i)
				shard := e.index.shardOf(&en.id)
				if shard%workers != w && en.kind != kindDrop && en.kind != kindMark {
					continue
				}
				e.apply(&e.index.shards[shard], tenants[en.tenant], &en, at(s.number, en.offset), w)
			}
		})
	}
	wg.Wait()
}

// apply applies one frame. Sums are counted when all are applied: see settle.
func (e *engine) apply(sh *shard, t *tenant, en *entry, p position, worker int) {
	if en.kind == kindDrop || en.kind == kindMark {
		if worker != 0 {
			return
		}
		if en.kind == kindMark {
			e.log.swept = en.expires // less than before if the clock was set back
			return
		}
		t.dropped.Store(uint64(p))
		return
	}
	s := sh.find(&en.id, t.number)
	switch en.kind {
	case kindRecord, kindDamaged:
		if s == nil {
			if err := sh.grow(1, 0); err != nil {
				panic(err) // there is no memory
			}
			s = sh.insert(&en.id, t.number)
		}
		s.pos, s.size, s.flags = p, uint32(en.size), uint16(en.flags&flagMarker)
		if en.kind == kindDamaged {
			s.flags |= slotDamaged
		}
		s.setExpires(en.expires)
	case kindTouch:
		if s != nil && p > s.pos {
			s.setExpires(max(s.expires(), en.expires))
		}
	case kindDelete:
		if s != nil {
			sh.remove(sh.place(s))
		}
	}
}

// settle removes what is absent when all frames are applied, and counts what is left. Records that had expired before
// the last complete sweep known to the log are absent; others are left for the next sweep.
func (e *engine) settle() {
	e.log.swept = min(e.log.swept, e.now()) // the clock may have been wrong
	for i := range e.index.shards {
		sh := &e.index.shards[i]
		for j := 0; j < len(sh.slots); j++ {
			s := &sh.slots[j]
			if s.pos == 0 {
				continue
			}
			if t := e.tenants.at(s.tenant); t.absent(s) || s.expires() <= e.log.swept {
				sh.remove(j)
				j-- // another slot may lie here now
			}
		}
		for j := range sh.slots {
			if s := &sh.slots[j]; s.pos != 0 {
				e.log.account(e.tenants.at(s.tenant), s, 1)
			}
		}
	}
	e.log.marked = e.log.swept
}

// unsyncedFrame is a frame that may not be durable after a failure, and its position.
type unsyncedFrame struct {
	frame
	pos position
}

// scan collects the table of keys of a segment that has none, and completes it if it is the newest.
func (e *engine) scan(s *segment, newest bool, r *resume) (*keys, error) {
	sc := &scanner{segment: s, seal: e.log.seal}
	var unsynced []unsyncedFrame
	cut := s.size // frames from here on may not be durable
	if r != nil && r.segment == s.number {
		cut = r.offset
	}
	end := 0
	damagedData := 0
	k, valid, err := scanKeys(sc, func(f *frame, encoded []byte, offset int) bool {
		if !f.fill(encoded) {
			if newest && !e.syncedBehind(s, offset) {
				return false // the end of what was written before a crash
			}
			damagedData++
			e.damaged(s.number, offset)
		}
		if offset+f.length <= cut {
			end = offset + f.length
		} else {
			u := unsyncedFrame{*f, at(s.number, offset)}
			u.tenant, u.data = bytes.Clone(u.tenant), bytes.Clone(u.data)
			unsynced = append(unsynced, u)
		}
		return true
	})
	switch {
	case err == nil && (cut == s.size || len(unsynced) == 0):
		s.end = sc.offset
		if newest || r != nil { // a kill may have come before its sync
			err = s.file.Sync()
		}
		return k, err
	case err != nil && !errors.Is(err, errEnd):
		return nil, fmt.Errorf("read %s: %w", segmentName(s.number), err)
	}
	if err != nil {
		if err := e.checkCut(s, newest, valid); err != nil {
			return nil, err
		}
	}
	if cut == s.size {
		end = valid
	} else {
		for n := len(unsynced); n > 0 && unsynced[n-1].flags&flagContinues != 0; n-- {
			unsynced = unsynced[:n-1] // of an incomplete chain
		}
		for k.len() > 0 && k.at(k.len()-1).offset >= cut {
			k.entries = k.entries[:len(k.entries)-keysEntry]
		}
		if !r.scanned {
			r.scanned, r.frames = true, unsynced
		}
	}
	return k, e.complete(s, end)
}

// complete writes the end frame of a segment behind its last valid frame. The segment is durable before the next one
// gets its first frame.
func (e *engine) complete(s *segment, end int) error {
	if s.size < end+frameHead { // an empty file
		if err := s.file.Allocate(int64(e.opts.layout.page)); err != nil {
			return err
		}
		before := s.size
		s.size = max(s.size, e.opts.layout.page)
		e.log.total += int64(s.size - before)
		e.log.largestSegment = max(e.log.largestSegment, s.size)
		s.pages = newSegment(s.number, s.file, s.size, s.unit).pages
	}
	b := make([]byte, frameHead)
	f := frame{kind: kindEnd, dataSum: dataSum(nil)}
	e.log.seal.put(b, at(s.number, end), &f, "")
	if _, err := s.file.WriteAt(b, int64(end)); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.end = end + frameHead
	s.shrink()
	return nil
}

// checkCut decides what an invalid frame at offset means. At the end of the newest segment it is where a crash has
// ended writing, unless a later frame shows that the segment was durable beyond it. Everywhere else it is damage.
func (e *engine) checkCut(s *segment, newest bool, offset int) error {
	lost, synced := e.framesBehind(s, offset)
	if newest && synced <= offset {
		if lost > 0 {
			e.opts.Logger.Warn("storage: writes that were not durable are lost", "file", segmentName(s.number),
				"offset", offset, "frames", lost)
		}
		return nil
	}
	if e.opts.AcceptLoss {
		e.opts.Logger.Error("storage: acknowledged writes are lost", "file", segmentName(s.number), "offset", offset,
			"frames", lost)
		return nil
	}
	return fmt.Errorf("%w: the file %s is damaged at %d, with %d frames behind it; restore a backup, or start with "+
		"--accept-loss",
		storage.ErrCorrupt, segmentName(s.number), offset, lost)
}

// syncedBehind reports whether a frame behind offset shows that the segment was durable beyond the frame there.
func (e *engine) syncedBehind(s *segment, offset int) bool {
	_, synced := e.framesBehind(s, offset+8)
	return synced > offset
}

// framesBehind looks for valid frames at every possible place behind offset. It returns their number, and the
// greatest offset up to which one of them states the segment to be durable.
func (e *engine) framesBehind(s *segment, offset int) (frames, synced int) {
	b := make([]byte, s.size-offset)
	n, _ := s.file.ReadAt(b, int64(offset))
	b = b[:n]
	for i := 0; i+frameHead <= len(b); {
		f, ok := e.log.seal.parseHead(b[i:], at(s.number, offset+i))
		if !ok {
			i += 8
			continue
		}
		if f.kind != kindMark && f.kind != kindEnd {
			frames++
		}
		synced = max(synced, f.synced)
		i += f.length
	}
	return frames, synced
}

// relocate appends the frames again that may not be durable after a failure. Their segment ends before them now.
func (e *engine) relocate(ctx context.Context, frames []unsyncedFrame) error {
	l := &e.log
	var g *group
	appendFrame := func(f *frame, tenant string) (room, error) {
		for {
			l.mu.Lock()
			r, err := l.claim(frameLength(len(tenant), f.size), cleaning)
			if err == nil {
				l.put(&r, f, tenant)
			}
			l.mu.Unlock()
			if err == nil && g != nil && g != r.group {
				err = l.commit(g)
			}
			if err == nil {
				g = r.group
				return r, nil
			}
			if err := l.await(ctx, err); err != nil {
				return room{}, err
			}
		}
	}
	for i := range frames { // before the records that came after it
		if f := &frames[i]; f.kind == kindDrop {
			if _, err := appendFrame(&f.frame, string(f.tenant)); err != nil {
				return err
			}
		}
	}
	for i := range frames {
		f := &frames[i]
		t := e.tenants.lookup(string(f.tenant))
		if t == nil || f.kind == kindDrop || f.kind >= kindMark {
			continue
		}
		sh := e.shard(&f.id)
		s := sh.find(&f.id, t.number)
		switch {
		case f.kind == kindDelete && s == nil:
		case f.kind == kindTouch && s != nil && s.pos < f.pos:
		case (f.kind == kindRecord || f.kind == kindDamaged) && s != nil && s.pos == f.pos:
			f.expires = s.expires()
			f.flags &^= flagContinues
		default:
			continue // a later frame has made it superfluous
		}
		r, err := appendFrame(&f.frame, t.name)
		if err != nil {
			return err
		}
		if s != nil && s.pos == f.pos {
			l.mu.Lock()
			l.account(t, s, -1)
			s.pos = r.pos
			l.account(t, s, 1)
			l.mu.Unlock()
		}
	}
	if g == nil {
		return nil
	}
	if err := l.commit(g); err != nil {
		return err
	}
	return l.sync(l.newest())
}

package file

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strings"

	"sessionserver/storage"
)

// A batch is several records that appear at once. First all records are staged in temporary files. Then the journal is
// written, which contains the paths of these files, and is renamed to its final name. This rename commits the batch:
// after a crash, opening the folder completes it. Then the temporary files replace the records in order, while the
// stripes of all records are locked.
//
// A journal may be found again after its batch is complete, if its removal did not reach the disk. This is harmless:
// its files are gone, and their names are never used again.
const journalTitle = "sessionserver file journal 1\n"

// PutAll implements storage.Batcher. If the disk fails between two renames, the batch is half visible. Then the
// store accepts no writes until it is opened again, and Options.Failed is called.
func (s *Store) PutAll(ctx context.Context, entries []storage.Entry) error {
	if err := s.enterWrite(ctx); err != nil {
		return failure("put all", err)
	}
	defer s.leave()
	switch len(entries) {
	case 0:
		return nil
	case 1:
		return failure("put all", s.put(entries[0].Key, entries[0].Record))
	}
	return failure("put all", s.putAll(entries))
}

func (s *Store) putAll(entries []storage.Entry) error {
	batch, err := s.stageAll(entries)
	if err == nil {
		s.batch.Lock()
		defer s.batch.Unlock()
		err = s.writeJournal(batch)
	}
	if err != nil {
		return errors.Join(err, s.discard(batch))
	}
	if err := s.replaceAll(batch); err != nil {
		return err
	}
	if err := s.syncFolders(batch); err != nil {
		return err
	}
	s.root.Remove(journalName) // a journal that stays is harmless, see above
	return nil
}

// stageAll stages the entries. With an error it returns the records that it has staged.
func (s *Store) stageAll(entries []storage.Entry) ([]staged, error) {
	batch := make([]staged, 0, len(entries))
	for _, e := range entries {
		st, err := s.stage(e.Key, e.Record)
		if err != nil {
			return batch, err
		}
		batch = append(batch, st)
	}
	return batch, s.syncFolders(batch) // the journal must not survive a crash without the names in it
}

func (s *Store) discard(batch []staged) error {
	var errs []error
	for _, st := range batch {
		errs = append(errs, s.root.Remove(st.temp))
	}
	return errors.Join(errs...)
}

// writeJournal commits the batch. After an error it leaves no journal. The caller holds batch.
func (s *Store) writeJournal(batch []staged) error {
	if p := s.failed.Load(); p != nil { // the existing journal is still needed
		return *p
	}
	var b strings.Builder
	b.WriteString(journalTitle)
	for _, st := range batch {
		b.WriteString(st.temp + "\n")
	}
	fmt.Fprintf(&b, "%08x\n", crc32.Checksum([]byte(b.String()), castagnoli))
	temp := fmt.Sprintf("%s.%s-%d%s", journalName, s.nonce, s.temps.Add(1), tempSuffix)
	if err := s.writeFile(temp, []byte(b.String())); err != nil {
		return err
	}
	if err := s.root.Rename(temp, journalName); err != nil {
		return errors.Join(err, s.root.Remove(temp))
	}
	if err := s.syncFolder("."); err != nil {
		return errors.Join(err, s.root.Remove(journalName))
	}
	return nil
}

// replaceAll replaces the records of the batch while all its stripes are locked.
func (s *Store) replaceAll(batch []staged) error {
	var stripes []byte
	for _, st := range batch {
		stripes = append(stripes, st.key.ID[0])
	}
	slices.Sort(stripes)
	stripes = slices.Compact(stripes)
	for _, i := range stripes {
		s.stripes[i].Lock()
		defer s.stripes[i].Unlock()
	}
	added := make(map[*tenant]storage.Usage) // added at the end, so that no partial sum is visible
	defer func() {
		for t, u := range added {
			t.add(u)
		}
	}()
	for i, st := range batch {
		u, err := s.replace(st)
		u.Records, u.Bytes = u.Records+added[st.tenant].Records, u.Bytes+added[st.tenant].Bytes
		added[st.tenant] = u
		if err == nil {
			continue
		}
		if i == 0 && s.root.Remove(journalName) == nil { // no record has been replaced yet
			return errors.Join(err, s.discard(batch))
		}
		err = failure("put all", fmt.Errorf("a batch is incomplete: no writes are accepted until the folder is opened "+
			"again: %w", err))
		if s.failed.CompareAndSwap(nil, &err) {
			s.reportFailed(err)
		}
		return err
	}
	return nil
}

func (s *Store) syncFolders(batch []staged) error {
	done := make(map[string]bool)
	for _, st := range batch {
		if done[st.folder] {
			continue
		}
		if err := s.syncFolder(st.folder); err != nil {
			return err
		}
		done[st.folder] = true
	}
	return nil
}

// replay completes a batch that a crash interrupted.
func (s *Store) replay() error {
	content, err := s.root.ReadFile(journalName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	temps, err := parseJournal(string(content))
	if err != nil {
		return fmt.Errorf("%s: %w", journalName, err)
	}
	folders := make(map[string]bool)
	for _, temp := range temps {
		target, ok := tempTarget(temp)
		if !ok {
			return fmt.Errorf("%s: %w", journalName, corrupt("%q is not a temporary file", temp))
		}
		if err := s.root.Rename(temp, target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		folders[target[:strings.LastIndexByte(target, '/')]] = true
	}
	for folder := range folders {
		if err := s.syncFolder(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.root.Remove(journalName)
}

// parseJournal returns the paths of the temporary files. A torn journal has none: it can occur only with SyncNever
// after a power failure, which may lose acknowledged writes.
func parseJournal(content string) ([]string, error) {
	const sumSize = 9 // eight digits and a newline
	end := max(len(content)-sumSize, 0)
	body, sum := content[:end], content[end:]
	if sum != fmt.Sprintf("%08x\n", crc32.Checksum([]byte(body), castagnoli)) {
		return nil, nil
	}
	list, ok := strings.CutPrefix(body, journalTitle)
	if !ok {
		return nil, corrupt("not a journal of this version")
	}
	return strings.Fields(list), nil
}

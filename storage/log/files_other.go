//go:build !linux

package log

// Allocate implements file by writing zeros.
func (f diskFile) Allocate(size int64) error {
	from, err := f.Size()
	if err != nil || from >= size {
		return err
	}
	return fillZeros(f.File, from, size)
}

// Sync implements file.
func (f diskFile) Sync() error { return f.File.Sync() }

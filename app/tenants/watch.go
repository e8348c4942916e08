package tenants

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"sessionserver/configs"
	"sessionserver/watch"
)

// Run applies changes in the files until ctx ends. A change that the system reports is applied after debounce, since an
// editor may be in the middle of several changes, but not much later. Any other change is found once each poll.
func (f *Follower) Run(ctx context.Context) {
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { f.dropAll(ctx) })
	if f.folder == "" {
		<-ctx.Done()
		return
	}
	watch.Run(ctx, watch.Options{
		Folders:     func() []string { return []string{f.folder} },
		Fingerprint: func() string { return fingerprint(f.folder) },
		Ignore:      func(path string) bool { return strings.HasPrefix(filepath.Base(path), servedPrefix) },
		Settle:      f.debounce, Unsettled: 4 * f.debounce, Poll: f.poll,
		What: "tenants in " + f.folder, Logger: f.log,
	}, f.Reload)
}

// fingerprint returns the metadata of the files in a folder as a text. The content is not read.
func fingerprint(folder string) string {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range entries {
		name := e.Name()
		ext := strings.ToLower(filepath.Ext(name))
		// A file that ends with .yml is a problem as long as it is there.
		if strings.HasPrefix(name, ".") || ext != configs.TenantExt && ext != configs.DropExt && ext != ".yml" {
			continue
		}
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			fmt.Fprintln(&b, name, err)
			continue
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano(), info.Mode(), inode(info))
	}
	return b.String()
}

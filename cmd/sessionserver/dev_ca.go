package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"sessionserver/atomicfile"
	"sessionserver/certs"
	"sessionserver/configs"
)

// publishDevCA makes the public certificate of the dev server's CA readable for other users of this machine, such as
// that of PHP-FPM. Its folders get only the right to be passed through. Where a folder above is closed, as home
// folders are, the certificate is copied below the folder for temporary files. An error means that others cannot read
// it there either.
func publishDevCA(cfg *configs.Config) error {
	own, err := filepath.Abs(certs.CAFile(cfg.TLS.LocalCA))
	if err != nil {
		return err
	}
	// Other files there have modes of their own: secrets, keys, sessions and tenants are closed.
	for _, folder := range []string{filepath.Dir(cfg.Tenants), cfg.TLS.LocalCA} {
		info, err := os.Stat(folder)
		if err == nil {
			err = os.Chmod(folder, info.Mode().Perm()|0o011)
		}
		if err != nil {
			return err
		}
	}
	if readableByOthers(own) {
		return nil
	}
	text, err := os.ReadFile(own)
	if err != nil {
		return err
	}
	public := publicCA(text)
	if err := os.Mkdir(filepath.Dir(public), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := ours(filepath.Dir(public), own); err != nil {
		return err
	}
	folder, err := os.OpenRoot(filepath.Dir(public))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Chmod(".", 0o755); err != nil { // whatever the umask
		return err
	}
	if err := atomicfile.Replace(folder, filepath.Base(public), text, atomicfile.Mode(0o644)); err != nil {
		return err
	}
	if !readableByOthers(public) {
		return fmt.Errorf("%s is closed to them too: set TMPDIR to a folder that they can read", os.TempDir())
	}
	return nil
}

// devCA returns the file with the certificate of the dev server's CA for DSNs: the CA's own, or the copy by
// publishDevCA.
func devCA(cfg *configs.Config) (string, error) {
	own, err := filepath.Abs(certs.CAFile(cfg.TLS.LocalCA))
	if err != nil || readableByOthers(own) {
		return own, err
	}
	text, err := os.ReadFile(own)
	if err != nil {
		return own, nil // not created yet
	}
	public := publicCA(text)
	if copied, err := os.ReadFile(public); err != nil || string(copied) != string(text) || ours(filepath.Dir(public),
		own) != nil {
		return own, nil
	}
	return public, nil
}

// publicCA returns where the certificate of a CA is copied to: a folder of its own, with a name that cannot be known
// before the CA is created.
func publicCA(certificate []byte) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("sessionserver-ca-%x",
		sha256.Sum256(certificate))[:len("sessionserver-ca-")+32], "ca.pem")
}

// ours returns an error for a folder that is not the server's, since any user may create one below that for temporary
// files.
func ours(folder, file string) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	own, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.IsDir() || !sameUser(info, own) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s belongs to another user: remove it, or set TMPDIR to another folder", folder)
	}
	return nil
}

// readableByOthers reports whether the modes let every user of this machine read a file.
func readableByOthers(file string) bool {
	if runtime.GOOS == "windows" {
		return true
	}
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o004 == 0 {
		return false
	}
	for folder := filepath.Dir(file); ; folder = filepath.Dir(folder) {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if folder == filepath.Dir(folder) {
			return true
		}
	}
}

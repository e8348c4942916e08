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

// publishDevCA puts the public certificate of the dev server's CA where other users of this machine can read it, such
// as the one that PHP-FPM runs as: only the certificate, whose folders get the right to be passed through. Where a
// folder above is closed, as home folders are, it is copied below the folder for temporary files. It is an error if
// others cannot read it there either.
func publishDevCA(cfg *configs.Config) error {
	own, err := filepath.Abs(certs.CAFile(cfg.TLS.LocalCA))
	if err != nil {
		return err
	}
	// What else lies there has modes of its own: secrets, keys, sessions and tenants are closed.
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
		return fmt.Errorf("%s is closed to them too", os.TempDir())
	}
	return nil
}

// devCA is the file with the certificate of the dev server's CA that DSNs name: the CA's own, or the copy that
// publishDevCA made of it.
func devCA(cfg *configs.Config) (string, error) {
	own, err := filepath.Abs(certs.CAFile(cfg.TLS.LocalCA))
	if err != nil || readableByOthers(own) {
		return own, err
	}
	text, err := os.ReadFile(own)
	if err != nil {
		return own, nil // it is not there yet
	}
	public := publicCA(text)
	if copied, err := os.ReadFile(public); err != nil || string(copied) != string(text) || ours(filepath.Dir(public),
		own) != nil {
		return own, nil
	}
	return public, nil
}

// publicCA is where the certificate of a CA is copied to: for each one a folder of its own, whose name nobody can know
// before the CA is made.
func publicCA(certificate []byte) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("sessionserver-ca-%x",
		sha256.Sum256(certificate))[:len("sessionserver-ca-")+32], "ca.pem")
}

// ours refuses a folder that is not the server's: anybody may make one below that for temporary files.
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
		return fmt.Errorf("%s belongs to somebody else", folder)
	}
	return nil
}

// readableByOthers reports whether every user of this machine may read a file, as far as modes tell.
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

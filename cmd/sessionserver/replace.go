package main

import (
	"crypto/rand"
	"errors"
	"os"
)

// replaceFile makes text the file of that name in a folder, so that a crash leaves the old one or the new. own, if any, gives the new one its owner
// and mode, which are else those of a file for its owner alone; still, if any, is asked right before the old one goes and can refuse.
//
// All of it is done to the folder that is open, whatever becomes of its path. Package certs has such a function of its own, for its folders are the
// server's alone and it may not import this one.
func replaceFile(folder *os.Root, name string, text []byte, own func(*os.File) error, still func() error) error {
	temp := "." + name + "." + rand.Text() + ".tmp"
	f, err := folder.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil && own != nil {
		err = own(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && still != nil {
		err = still()
	}
	if err == nil {
		err = folder.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, folder.Remove(temp))
	}
	return syncFolder(folder)
}

// syncFolder makes sure that the names in a folder outlive a loss of power.
func syncFolder(folder *os.Root) error {
	self, err := folder.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(self.Sync(), self.Close())
}

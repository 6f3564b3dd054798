package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const secretLen = 32

// Secret returns the secret of that name: 32 random bytes, made once and the
// same ever after. Names are as for Log.
//
// fresh says that it was made now: whoever keyed something by a former one must
// forget that. This is so too if the file was found damaged, which Damage then
// names.
func (d *Dir) Secret(name string) (secret [secretLen]byte, fresh bool, err error) {
	if err := checkName(name); err != nil {
		return secret, false, fmt.Errorf("state: secret: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return secret, false, fmt.Errorf("state: secret %s: %w", name, ErrClosed)
	}
	path := filepath.Join(d.path, name+"."+secretKind.String())
	secret, found, err := readSecret(path, name)
	if err == nil && !found {
		err = d.setSecretAside(path)
	}
	if err == nil && !found {
		secret, err = makeSecret(path, name)
	}
	if err != nil {
		return [secretLen]byte{}, false, fmt.Errorf("state: secret %s: %w", name, err)
	}
	return secret, !found, nil
}

func readSecret(path, name string) (secret [secretLen]byte, found bool, err error) {
	f, err := openRead(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret, false, nil
	}
	if err != nil {
		return secret, false, err
	}
	defer f.Close()
	if err := f.Chmod(fileMode); err != nil { // whoever copied it may have been careless
		return secret, false, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return secret, false, err
	}
	h, whole, err := parseHeader(b)
	if err == nil && whole {
		err = h.is(secretKind, name, 0)
	}
	if err != nil || !whole {
		return secret, false, err
	}
	return parseSecret(b, h)
}

// parseSecret takes a file for whole only if it is just what makeSecret writes.
func parseSecret(b []byte, h header) (secret [secretLen]byte, found bool, err error) {
	if len(b) < len(secret) {
		return secret, false, nil
	}
	copy(secret[:], b[len(b)-len(secret):])
	return secret, string(b) == string(secretFile(h, secret)), nil
}

func secretFile(h header, secret [secretLen]byte) []byte {
	return h.mark.appendFrame(h.bytes(), secret[:])
}

func makeSecret(path, name string) (secret [secretLen]byte, err error) {
	_, _ = rand.Read(secret[:]) // never fails
	h := header{kind: secretKind, mark: newMark(), name: name}
	return secret, writeFile(path, secretFile(h, secret))
}

// setSecretAside moves a secret that is damaged, if there is one, out of the
// way. d.mu is held.
func (d *Dir) setSecretAside(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	aside := path + damaged
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s%s-%d", path, damaged, n)
	}
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	d.damage = append(d.damage, &Damage{File: path, Bytes: info.Size(), Places: 1, SetAside: aside})
	return nil
}

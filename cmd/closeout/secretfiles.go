package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/alecthomas/kong"
)

// fileSuffix on the name of a secret setting makes the name of one that says in which file the secret is.
const fileSuffix = "_FILE"

// secretFiles lets each setting that is tagged `secret` be given as NAME_FILE, the path of a file with its value, as Docker
// and Kubernetes hand secrets over: the environment of a process is read more easily than such a file. No complaint shows
// what is in a file, nor the path, which may be the secret itself, set under the wrong name.
type secretFiles struct{ bad complaints }

// Resolve implements kong.Resolver: it is asked for each flag of the command that the command line did not give. What is
// wrong is gathered, so that all of it is named at once.
func (s *secretFiles) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Tag.Envs {
		path := os.Getenv(name + fileSuffix)
		switch {
		case path == "": // empty is not given, as for every other setting
			continue
		case !flag.Tag.Has("secret"):
			s.bad.add(name+fileSuffix, "there is no such setting, since %s is no secret: give that itself", name)
			continue
		case os.Getenv(name) != "":
			s.bad.add(name+fileSuffix, "is given, and so is %s: give one of them", name)
			continue
		}
		value, err := readSecret(path)
		if err != nil {
			s.bad.add(name+fileSuffix, "%v", err)
			continue
		}
		return value, nil
	}
	return nil, nil
}

// Validate implements kong.Resolver.
func (*secretFiles) Validate(*kong.Application) error { return nil }

// largestSecret is far above any: a larger file is not the one that was meant.
const largestSecret = 64 << 10

// readSecret reads a file of one line. Others may read it, as Docker and Kubernetes mount secrets by default, but not write it.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", unreadable(err)
	}
	defer func() { _ = f.Close() }()
	switch info, err := f.Stat(); {
	case err != nil:
		return "", unreadable(err)
	case info.IsDir():
		return "", errors.New("names a folder; want a file with the value and nothing else")
	case info.Mode().Perm()&0o002 != 0:
		return "", errors.New("names a file that anybody may write to: chmod o-w it, and look whether the value is still yours")
	}
	b, err := io.ReadAll(io.LimitReader(f, largestSecret+1))
	if err != nil {
		return "", unreadable(err)
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return "", errors.New("names an empty file")
	case len(b) > largestSecret:
		return "", errors.New("names a file of more than 64 KiB; want the value and nothing else")
	case bytes.ContainsAny(b, "\r\n\x00"):
		return "", errors.New("names a file of more than one line; want the value and nothing else")
	}
	return string(b), nil
}

// unreadable is why a file can't be read, without its path.
func unreadable(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("names a file that can't be read: %w", err)
}

// helped is what help says of a flag: a secret's other name too.
func helped(v *kong.Value) string {
	if v.Tag != nil && v.Tag.Has("secret") && len(v.Tag.Envs) == 1 {
		own := *v.Tag
		own.Envs = []string{own.Envs[0], own.Envs[0] + fileSuffix}
		shown := *v
		shown.Tag = &own
		v = &shown
	}
	return kong.DefaultHelpValueFormatter(v)
}

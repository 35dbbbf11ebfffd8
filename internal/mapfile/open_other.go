//go:build !unix

package mapfile

import "os"

// Open reads a file; this system is not one on which we map.
func Open(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &File{Data: data}, nil
}

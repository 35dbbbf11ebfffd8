//go:build !unix

package checkpoint

import "os"

// mapFile returns the bytes of a file, read at once.
func mapFile(path string) ([]byte, func() error, error) {
	data, err := os.ReadFile(path)
	return data, func() error { return nil }, err
}

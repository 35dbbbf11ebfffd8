// Package mapfile maps files into memory, read-only.
package mapfile

// File is a file's bytes in memory.
type File struct {
	// Data is the whole file. It must not be written to, nor read after Close.
	Data  []byte
	unmap func() error
}

// Close gives the memory back. A second call does nothing.
func (f *File) Close() error {
	unmap := f.unmap
	f.Data, f.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	return unmap()
}

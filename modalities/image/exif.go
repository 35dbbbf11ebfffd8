package image

import (
	"bytes"
	"encoding/binary"
)

const pngMagic = "\x89PNG\r\n\x1a\n"

// orientation returns the EXIF orientation (tag 0x0112) of a JPEG or a PNG,
// from 1 to 8; 1 where there is none or it cannot be read.
func orientation(data []byte) int {
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xd8}):
		return jpegOrientation(data[2:])
	case bytes.HasPrefix(data, []byte(pngMagic)):
		return pngOrientation(data[len(pngMagic):])
	}
	return 1
}

// jpegOrientation reads the tag from the segments in front of the scan.
func jpegOrientation(data []byte) int {
	for len(data) >= 4 && data[0] == 0xff {
		marker, size := data[1], int(binary.BigEndian.Uint16(data[2:]))
		if size < 2 || len(data) < 2+size || marker == 0xda {
			return 1
		}
		segment := data[4 : 2+size]
		if marker == 0xe1 && bytes.HasPrefix(segment, exifHeader) {
			return tiffOrientation(segment[len(exifHeader):])
		}
		data = data[2+size:]
	}
	return 1
}

// pngOrientation reads the tag from the chunk eXIf, wherever it stands.
func pngOrientation(data []byte) int {
	for len(data) >= 12 {
		size := int64(binary.BigEndian.Uint32(data))
		if size > int64(len(data)-12) {
			return 1
		}
		if string(data[4:8]) == "eXIf" {
			return tiffOrientation(bytes.TrimPrefix(data[8:8+size], exifHeader))
		}
		data = data[12+size:]
	}
	return 1
}

// exifHeader stands in front of the TIFF header in a JPEG, and in some PNGs.
var exifHeader = []byte("Exif\x00\x00")

// tiffOrientation reads the tag from the first directory of a TIFF header.
func tiffOrientation(t []byte) int {
	if len(t) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(t[:2]) {
	case "II":
		order = binary.LittleEndian
	case "MM":
		order = binary.BigEndian
	default:
		return 1
	}
	at := int64(order.Uint32(t[4:]))
	if at+2 > int64(len(t)) {
		return 1
	}
	entries := t[at+2:]
	for n := order.Uint16(t[at:]); n > 0 && len(entries) >= 12; n-- {
		if order.Uint16(entries) == 0x0112 {
			if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"mime"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
)

// TooLargeError is a body over its limit, as received or when decoded.
type TooLargeError struct {
	What  string // "body" or "decoded body"
	Limit int64  // bytes
}

// Error names the limit that was passed.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s too large, limit: %d bytes", e.What, e.Limit)
}

// trustedLength is how many bytes of memory a claimed length is worth; beyond
// it memory follows what has arrived. A job's push fits, and a client that
// claims much and sends nothing holds little.
const trustedLength = 64 << 10

// ReadBody reads a request's body whole into the memory of dst, what dst held
// being overwritten, and grows it as needed. The length is the one claimed,
// negative if there is none; the limit is in bytes, and under zero only an empty
// body passes. A body over the limit is a *TooLargeError, before anything is
// read if its length says so, otherwise at the first byte too many; one shorter
// than its length is io.ErrUnexpectedEOF; other errors are r's.
func ReadBody(dst []byte, r io.Reader, length, limit int64) ([]byte, error) {
	if length > limit {
		return nil, &TooLargeError{What: "body", Limit: limit}
	}
	if length < 0 {
		return readCapped(dst[:0], r, "body", &allowance{limit: limit})
	}
	if first := Room(length, 0); int64(cap(dst)) < first {
		dst = make([]byte, 0, first)
	}
	body, err := readUpTo(dst[:0], r, length, Room)
	if err != nil {
		return nil, err
	}
	if int64(len(body)) < length {
		return nil, io.ErrUnexpectedEOF
	}
	return body, nil
}

// allowance is how many bytes there may be, and who is asked for more.
type allowance struct {
	limit int64
	more  func(limit int64) int64 // nil gives none
}

// fits reports whether so many bytes are within the limit, or more that was asked for.
func (a *allowance) fits(n int64) bool {
	for n > a.limit {
		if a.more == nil {
			return false
		}
		next := a.more(a.limit)
		if next <= a.limit {
			return false
		}
		a.limit = next
	}
	return true
}

// readCapped appends r to dst up to its end, and fails at the first byte that is
// not allowed.
func readCapped(dst []byte, r io.Reader, what string, a *allowance) ([]byte, error) {
	for {
		limit := a.limit
		body, err := readUpTo(dst, r, min(limit, math.MaxInt64-1)+1, doubled)
		switch n := int64(len(body)); {
		case !a.fits(n):
			return nil, &TooLargeError{What: what, Limit: a.limit}
		case err != nil:
			return nil, err
		case n <= limit:
			return body, nil
		}
		dst = body
	}
}

// ahead is, as a power of two, how many times what has come the memory of a body of a
// claimed length may be. What grows leaves garbage: with this a fifteenth of the body at
// the most, where doubling leaves as much again.
const ahead = 4

// Room is how much memory ReadBody takes for a body of a claimed length of which so many
// bytes have come.
func Room(length, come int64) int64 {
	if come < trustedLength {
		return min(length, trustedLength)
	}
	room := length
	for room>>ahead > come {
		room >>= ahead
	}
	return room
}

// doubled is the same of a body whose length is not known.
func doubled(_, come int64) int64 { return max(512, 2*come) }

// readUpTo appends to dst until r ends or dst holds most bytes. The memory grows
// with what was read, as room says, and never exceeds most.
func readUpTo(dst []byte, r io.Reader, most int64, room func(most, come int64) int64) ([]byte, error) {
	for int64(len(dst)) < most {
		if len(dst) == cap(dst) {
			grown := make([]byte, len(dst), min(room(most, int64(len(dst))), most))
			copy(grown, dst)
			dst = grown
		}
		n, err := r.Read(dst[len(dst):min(int64(cap(dst)), most)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// DecodeContent undoes a Content-Encoding the way a Pushgateway does: gzip and
// framed snappy, in any case. Every other encoding, none included, returns the
// body itself, for a Pushgateway parses such bytes as they are. The memory of
// dst is used as in ReadBody; it must not overlap the body.
//
// What cannot be decoded whole, its checksums included, is an *Error with the
// Pushgateway's words; what decodes to more bytes than the limit is a
// *TooLargeError, said at the first byte too many, the memory taken being at
// most twice the limit while it grows, and as much as a gzip file claims to need
// from the start, if that is within it. At the limit more is asked for the next,
// if it is not nil; one that is no larger is the last. One thing differs from a
// Pushgateway: a gzip header with reserved flags is refused, as its RFC demands.
func DecodeContent(dst []byte, encoding string, body []byte, limit int64, more func(limit int64) int64) ([]byte, error) {
	var out []byte
	var err error
	// Not EqualFold, which takes more than ASCII letters for those of snappy.
	switch strings.ToLower(encoding) {
	case "gzip":
		out, err = gunzip(dst, body, &allowance{limit, more})
	case "snappy":
		out, err = unsnap(dst, body, &allowance{limit, more})
	default:
		if int64(len(body)) > limit {
			return nil, &TooLargeError{What: "decoded body", Limit: limit}
		}
		return body, nil
	}
	if err == nil {
		return out, nil
	}
	if tooLarge, ok := errors.AsType[*TooLargeError](err); ok {
		return nil, tooLarge
	}
	return nil, &Error{
		Reason: err.Error(),
		Fix:    "the body is not what its Content-Encoding says, or was cut short: compress it so, framed if it is snappy, or leave the header out",
	}
}

// gunzipper keeps the tables and the window of a gzip reader between bodies.
type gunzipper struct {
	gzip.Reader
	src bytes.Reader
}

var gunzippers = sync.Pool{New: func() any { return new(gunzipper) }}

func gunzip(dst, body []byte, a *allowance) ([]byte, error) {
	z := gunzippers.Get().(*gunzipper)
	defer func() {
		z.src.Reset(nil)
		gunzippers.Put(z)
	}()
	z.src.Reset(body)
	dst = dst[:0]
	if claimed := claimedSize(body); claimed < a.limit && claimed >= int64(cap(dst)) {
		dst = make([]byte, 0, claimed+1) // a byte more, to come to the end without growing
	}
	for {
		err := z.nextMember()
		if err != nil {
			return nil, err
		}
		if dst, err = readCapped(dst, z, "decoded body", a); err != nil {
			return nil, err
		}
		if z.src.Len() == 0 {
			return dst, nil
		}
	}
}

// claimedSize is what the last member of a gzip file claims to unpack to, of most files
// all there is.
func claimedSize(body []byte) int64 {
	if len(body) < 4 {
		return 0
	}
	return int64(binary.LittleEndian.Uint32(body[len(body)-4:]))
}

// nextMember begins one member of the file. Left to itself the reader goes from
// member to member, but takes one that is cut inside its header for the end.
func (z *gunzipper) nextMember() error {
	left := z.src.Len()
	err := z.Reset(&z.src)
	z.Multistream(false)
	if err == io.EOF && left > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// The framing format of snappy:
// https://github.com/google/snappy/blob/main/framing_format.txt
const (
	chunkCompressed   = 0x00
	chunkUncompressed = 0x01
	chunkSkippable    = 0x80 // this and every type above but the last
	chunkStream       = 0xff

	snappyMagic = "sNaPpY"
	// A chunk holds at most this much when decoded, and maxSnappyChunk when not:
	// the largest encoding of a block, and its checksum.
	maxSnappyBlock = 1 << 16
	maxSnappyChunk = 76490 + 4
)

var (
	errSnappyCorrupt     = errors.New("snappy: corrupt input")
	errSnappyUnsupported = errors.New("snappy: unsupported input")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// unsnap decodes a framed stream chunk by chunk. The reader of the snappy
// package is not used: it reads S2 streams as well, which a Pushgateway refuses.
func unsnap(dst, body []byte, a *allowance) ([]byte, error) {
	dst = dst[:0]
	for first := true; len(body) > 0; first = false {
		if len(body) < 4 {
			return nil, errSnappyCorrupt
		}
		kind := body[0]
		size := int(body[1]) | int(body[2])<<8 | int(body[3])<<16
		if first && kind != chunkStream {
			return nil, errSnappyCorrupt
		}
		if size > maxSnappyChunk {
			return nil, errSnappyUnsupported
		}
		if kind > chunkUncompressed && kind < chunkSkippable {
			return nil, errSnappyUnsupported
		}
		if len(body)-4 < size {
			return nil, errSnappyCorrupt
		}
		chunk := body[4 : 4+size]
		body = body[4+size:]
		if kind == chunkStream && string(chunk) != snappyMagic {
			return nil, errSnappyCorrupt
		}
		if kind > chunkUncompressed {
			continue
		}
		var err error
		if dst, err = unsnapChunk(dst, kind, chunk, a); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// unsnapChunk appends the data of one chunk, which begins with its checksum.
func unsnapChunk(dst []byte, kind byte, chunk []byte, a *allowance) ([]byte, error) {
	if len(chunk) < 4 {
		return nil, errSnappyCorrupt
	}
	sum, data := binary.LittleEndian.Uint32(chunk), chunk[4:]
	size := len(data)
	if kind == chunkCompressed {
		var err error
		if size, err = snappy.DecodedLen(data); err != nil {
			return nil, errSnappyCorrupt
		}
	}
	if size > maxSnappyBlock {
		return nil, errSnappyCorrupt
	}
	start := len(dst)
	if !a.fits(int64(start + size)) {
		return nil, &TooLargeError{What: "decoded body", Limit: a.limit}
	}
	if need := start + size; need > cap(dst) {
		grown := make([]byte, start, min(max(int64(need), 2*int64(cap(dst))), a.limit))
		copy(grown, dst)
		dst = grown
	}
	dst = dst[:start+size]
	if kind == chunkUncompressed {
		copy(dst[start:], data)
	} else if _, err := snappy.DecodeStrict(dst[start:], data); err != nil {
		return nil, errSnappyCorrupt
	}
	if c := crc32.Checksum(dst[start:], castagnoli); (c>>15|c<<17)+0xa282ead8 != sum {
		return nil, errSnappyCorrupt
	}
	return dst, nil
}

// IsProtobuf reports whether a Content-Type says delimited protobuf. As in a
// Pushgateway everything else is text, whatever it calls itself.
func IsProtobuf(contentType string) bool {
	switch contentType { // what nearly all clients send
	case ProtobufType:
		return true
	case TextType, "text/plain; version=0.0.4", "application/x-www-form-urlencoded", "":
		return false
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/vnd.google.protobuf" &&
		params["encoding"] == "delimited" &&
		params["proto"] == "io.prometheus.client.MetricFamily"
}

package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"
)

func TestReadBody(t *testing.T) {
	const limit = 1000
	for _, c := range []struct {
		name   string
		sent   int
		length int64
		want   error // nil, io.ErrUnexpectedEOF or a *TooLargeError
	}{
		{"empty", 0, 0, nil},
		{"under the limit", limit - 1, limit - 1, nil},
		{"at the limit", limit, limit, nil},
		{"over the limit", limit + 1, limit + 1, &TooLargeError{}},
		{"cut", limit - 1, limit, io.ErrUnexpectedEOF},
		{"cut before the first byte", 0, 1, io.ErrUnexpectedEOF},
		{"empty, length unknown", 0, -1, nil},
		{"under the limit, length unknown", limit - 1, -1, nil},
		{"at the limit, length unknown", limit, -1, nil},
		{"over the limit, length unknown", limit + 1, -1, &TooLargeError{}},
		{"far over the limit, length unknown", 100 * limit, -1, &TooLargeError{}},
	} {
		for _, room := range []int{0, 10, limit, limit + 1, 3 * limit} {
			sent := bytes.Repeat([]byte("x"), c.sent)
			dst := append(make([]byte, 0, room), "old"[:min(room, 3)]...)
			got, err := ReadBody(dst, iotest.HalfReader(bytes.NewReader(sent)), c.length, limit)
			if !sameError(err, c.want, limit) {
				t.Errorf("%s, room %d: %v, want %v", c.name, room, err, c.want)
			}
			if want := sent; err == nil && !bytes.Equal(got, want) || err != nil && got != nil {
				t.Errorf("%s, room %d: %d bytes, want %d, or none with an error", c.name, room, len(got), len(want))
			}
			if cap(got) > max(room, limit+1) {
				t.Errorf("%s, room %d: takes %d bytes", c.name, room, cap(got))
			}
		}
	}
}

func sameError(got, want error, limit int64) bool {
	if _, ok := want.(*TooLargeError); ok {
		tooLarge, ok := errors.AsType[*TooLargeError](got)
		return ok && tooLarge.Limit == limit
	}
	return got == want
}

func TestReadBodyReusesMemory(t *testing.T) {
	dst := make([]byte, 101)
	for _, length := range []int64{100, -1} {
		got, err := ReadBody(dst, strings.NewReader(strings.Repeat("y", 100)), length, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if &got[0] != &dst[0] {
			t.Errorf("length %d: a body that fits is read into new memory", length)
		}
	}
}

func TestReadBodyPassesErrorsOn(t *testing.T) {
	broken := errors.New("connection reset")
	for _, length := range []int64{10, -1} {
		r := io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken))
		if got, err := ReadBody(nil, r, length, 100); err != broken || got != nil {
			t.Errorf("length %d: %q, %v; want the reader's error", length, got, err)
		}
	}
}

func TestReadBodyKnownTooLargeIsNotRead(t *testing.T) {
	if _, err := ReadBody(nil, iotest.ErrReader(errors.New("it was read")), 11, 10); !sameError(err, &TooLargeError{}, 10) {
		t.Errorf("%v; want a *TooLargeError", err)
	}
}

// A body that is over its limit must not be read on for the sake of the error.
func TestReadBodyStopsReading(t *testing.T) {
	r := &io.LimitedReader{R: zeros{}, N: math.MaxInt64}
	_, err := ReadBody(nil, r, -1, 10_000)
	if !sameError(err, &TooLargeError{}, 10_000) {
		t.Errorf("%v; want a *TooLargeError", err)
	}
	if n := math.MaxInt64 - r.N; n != 10_001 {
		t.Errorf("%d bytes read, want one over the limit", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A length is only a claim: who claims a gigabyte and sends a byte must not
// hold a gigabyte of memory.
func TestReadBodyDoesNotTrustLengths(t *testing.T) {
	grown := allocated(func() {
		r := io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF))
		if _, err := ReadBody(nil, r, 1<<30, 1<<31); err != io.ErrUnexpectedEOF {
			t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
		}
	})
	if grown > 2<<20 {
		t.Errorf("%d bytes taken for one that was sent", grown)
	}
	body, err := ReadBody(nil, zeros{}, 5<<20, 5<<20)
	if err != nil || len(body) != 5<<20 || cap(body) != 5<<20 {
		t.Errorf("%d bytes in %d, %v; want all in as many", len(body), cap(body), err)
	}
}

// What a body leaves behind while its memory grows is a small part of it, however long
// it is, and its memory is never far ahead of what has come.
func TestReadBodyLeavesLittle(t *testing.T) {
	for _, length := range []int64{trustedLength - 1, trustedLength, trustedLength + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 9 << 20, 1 << 24} {
		taken := allocated(func() {
			if body, err := ReadBody(nil, zeros{}, length, length); err != nil || int64(len(body)) != length {
				t.Errorf("%d bytes, %v; want %d", len(body), err, length)
			}
		})
		// Memory comes in blocks, and others may take some meanwhile.
		if most := length + length/15 + trustedLength + 64<<10; int64(taken) > most {
			t.Errorf("a body of %d bytes takes %d, want %d at most", length, taken, most)
		}
		for come := int64(0); come < length; come += 1 + length/1000 {
			if room := Room(length, come); room <= come || room > max(trustedLength, 16*(come+1)) {
				t.Fatalf("%d of %d bytes have come, and it takes %d", come, length, room)
			}
		}
	}
}

// A body of nothing but types gets no room for families: it has no metric for any.
func TestParseMakesNoRoomForTypesAlone(t *testing.T) {
	const line = "# TYPE a\n" // which declares nothing
	for _, size := range []int{largeBody, 4 * largeBody} {
		body := bytes.Repeat([]byte(line), size/len(line)+1)
		taken := allocated(func() {
			if err := new(Push).Parse(body, Text, Key{}, Options{}); err != nil {
				t.Error(err)
			}
		})
		if taken > largeBody {
			t.Errorf("a body of %d bytes takes %d", len(body), taken)
		}
	}
}

func TestReadBodyLargestLimit(t *testing.T) {
	if body, err := ReadBody(nil, strings.NewReader("abc"), -1, math.MaxInt64); err != nil || string(body) != "abc" {
		t.Errorf("%q, %v", body, err)
	}
}

// allocated is how many bytes f allocates in all, freed ones included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func gzipped(t testing.TB, data string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func snapped(t testing.TB, data string, opts ...s2.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := s2.NewWriter(&b, append([]s2.WriterOption{s2.WriterSnappyCompat(), s2.WriterBlockSize(1 << 16)}, opts...)...)
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// snappyChunk frames data, the checksum before it being that of plain.
func snappyChunk(kind byte, data, plain string) string {
	c := crc32.Checksum([]byte(plain), crc32.MakeTable(crc32.Castagnoli))
	sum := binary.LittleEndian.AppendUint32(nil, (c>>15|c<<17)+0xa282ead8)
	return rawChunk(kind, string(sum)+data)
}

func rawChunk(kind byte, data string) string {
	return string([]byte{kind, byte(len(data)), byte(len(data) >> 8), byte(len(data) >> 16)}) + data
}

const snappyStart = "\xff\x06\x00\x00sNaPpY"

func TestDecodeContent(t *testing.T) {
	text := "m 1\n"
	long := strings.Repeat("some_metric{a=\"b\"} 1\n", 20_000)
	for _, c := range []struct{ name, encoding, body, want string }{
		{"gzip", "gzip", string(gzipped(t, text)), text},
		{"gzip in capitals", "GZip", string(gzipped(t, long)), long},
		{"gzip of nothing", "gzip", string(gzipped(t, "")), ""},
		{"gzip of two members", "gzip", string(gzipped(t, text)) + string(gzipped(t, long)), text + long},
		{"gzip with an empty member between", "gzip", string(gzipped(t, text)) + string(gzipped(t, "")) + string(gzipped(t, text)), text + text},
		{"snappy", "snappy", string(snapped(t, text)), text},
		{"snappy in capitals", "SNAPPY", string(snapped(t, long)), long},
		{"snappy of nothing", "snappy", "", ""},
		{"snappy with a start alone", "snappy", snappyStart, ""},
		{"snappy, uncompressed", "snappy", snappyStart + snappyChunk(1, text, text), text},
		{"snappy of two streams", "snappy", string(snapped(t, text)) + string(snapped(t, long)), text + long},
		{"snappy, padded and with extensions", "snappy", snappyStart + rawChunk(0xfe, "pad") + rawChunk(0x80, "") + snappyChunk(1, text, text), text},
		{"snappy, the largest block", "snappy", snappyStart + snappyChunk(1, long[:1<<16], long[:1<<16]), long[:1<<16]},
		{"none", "", text, text},
		{"identity", "identity", text, text},
		{"an encoding that is not undone", "x-gzip", string(gzipped(t, text)), string(gzipped(t, text))},
		{"a list", "gzip, gzip", text, text},
		{"a blank", " gzip", text, text},
		{"deflate and br, as they are", "br", text, text},
		{"a letter that only folds to an s", "ſnappy", text, text},
	} {
		for _, room := range []int{0, 3, 1 << 20} {
			got, err := DecodeContent(make([]byte, room), c.encoding, []byte(c.body), 1<<20, nil)
			if err != nil || string(got) != c.want {
				t.Errorf("%s, room %d: %.40q, %v; want %.40q", c.name, room, got, err, c.want)
			}
		}
	}
}

func TestDecodeContentReturnsPlainBodies(t *testing.T) {
	body := []byte("m 1\n")
	if got, err := DecodeContent(make([]byte, 100), "", body, 100, nil); err != nil || &got[0] != &body[0] {
		t.Errorf("a plain body is copied, %v", err)
	}
}

func TestDecodeContentRefuses(t *testing.T) {
	text := "m 1\n"
	gz, sz := string(gzipped(t, text)), string(snapped(t, text))
	withName := gz[:3] + "\x08" + gz[4:10] // a name should follow
	flipped := func(s string, i int) string {
		b := []byte(s)
		b[(len(b)+i)%len(b)] ^= 1
		return string(b)
	}
	for _, c := range []struct{ name, encoding, body, want string }{
		{"gzip, empty", "gzip", "", "EOF"},
		{"gzip, plain text", "gzip", text + text + text, "gzip: invalid header"},
		{"gzip, reserved flags", "gzip", gz[:3] + "\x20" + gz[4:], "gzip: invalid header"},
		{"gzip, cut in the header", "gzip", gz[:5], "unexpected EOF"},
		{"gzip, cut in the name", "gzip", withName + "name", "unexpected EOF"},
		{"gzip, cut in the data", "gzip", gz[:len(gz)-10], "unexpected EOF"},
		{"gzip, cut in the checksum", "gzip", gz[:len(gz)-1], "unexpected EOF"},
		{"gzip, bad checksum", "gzip", flipped(gz, -8), "gzip: invalid checksum"},
		{"gzip, bad size", "gzip", flipped(gz, -1), "gzip: invalid checksum"},
		{"gzip, bad data", "gzip", gz[:10] + "\xff" + gz[11:], "flate: corrupt input before offset 1"},
		{"gzip, junk after it", "gzip", gz + "junk and more", "gzip: invalid header"},
		{"gzip, zeros after it", "gzip", gz + strings.Repeat("\x00", 16), "gzip: invalid header"},
		{"gzip, little junk after it", "gzip", gz + "j", "unexpected EOF"},
		{"gzip, second member cut", "gzip", gz + gz[:len(gz)-4], "unexpected EOF"},
		{"gzip, second member cut in the name", "gzip", gz + withName + "name", "unexpected EOF"},
		{"snappy, plain text", "snappy", text + text, "snappy: corrupt input"},
		{"snappy, not framed", "snappy", string(snappy.Encode(nil, []byte(text))), "snappy: corrupt input"},
		{"snappy, no start", "snappy", sz[10:], "snappy: corrupt input"},
		{"snappy, S2 stream", "snappy", "\xff\x06\x00\x00S2sTwO" + sz[10:], "snappy: corrupt input"},
		{"snappy, start of another length", "snappy", rawChunk(0xff, "sNaPpY!"), "snappy: corrupt input"},
		{"snappy, cut in a header", "snappy", sz[:12], "snappy: corrupt input"},
		{"snappy, cut in a chunk", "snappy", sz[:len(sz)-1], "snappy: corrupt input"},
		{"snappy, cut in padding", "snappy", snappyStart + rawChunk(0xfe, "padding")[:6], "snappy: corrupt input"},
		{"snappy, junk after it", "snappy", sz + "j", "snappy: corrupt input"},
		{"snappy, bad checksum", "snappy", flipped(sz, 14), "snappy: corrupt input"},
		{"snappy, no room for a checksum", "snappy", snappyStart + rawChunk(1, "abc"), "snappy: corrupt input"},
		{"snappy, bad block", "snappy", snappyStart + snappyChunk(0, "\x04\xff\xff", "abcd"), "snappy: corrupt input"},
		{"snappy, block without a length", "snappy", snappyStart + snappyChunk(0, "\xff", ""), "snappy: corrupt input"},
		{"snappy, block that says 4 GiB", "snappy", snappyStart + snappyChunk(0, "\xff\xff\xff\xff\x0f\x00", ""), "snappy: corrupt input"},
		{"snappy, block of 64 KiB and a byte", "snappy", snappyStart + snappyChunk(1, strings.Repeat("x", 1<<16+1), ""), "snappy: corrupt input"},
		{"snappy, reserved chunk", "snappy", snappyStart + rawChunk(0x02, ""), "snappy: unsupported input"},
		{"snappy, last reserved chunk", "snappy", snappyStart + rawChunk(0x7f, ""), "snappy: unsupported input"},
		{"snappy, padding of 16 MiB", "snappy", snappyStart + "\xfe\xff\xff\xff", "snappy: unsupported input"},
	} {
		got, err := DecodeContent(nil, c.encoding, []byte(c.body), 1<<20, nil)
		if bad, ok := errors.AsType[*Error](err); !ok || bad.Reason != c.want || !strings.Contains(bad.Fix, "Content-Encoding") || got != nil {
			t.Errorf("%s: %q, %v; want the *Error %s, and how to mend it", c.name, got, err, c.want)
		}
	}
}

func TestDecodeContentLimit(t *testing.T) {
	for _, limit := range []int{1, 511, 512, 513, 1 << 16, 1<<16 + 1, 200_000} {
		for _, size := range []int{limit - 1, limit, limit + 1, 2 * limit} {
			data := strings.Repeat("x", size)
			half := len(data) / 2
			for encoding, bodies := range map[string][]string{
				"":       {data},
				"gzip":   {string(gzipped(t, data)), string(gzipped(t, data[:half])) + string(gzipped(t, data[half:]))},
				"snappy": {string(snapped(t, data)), string(snapped(t, data, s2.WriterUncompressed()))},
			} {
				for _, body := range bodies {
					for _, room := range []int{0, limit, 3 * limit} {
						got, err := DecodeContent(make([]byte, 0, room), encoding, []byte(body), int64(limit), nil)
						want := error(nil)
						if size > limit {
							want = &TooLargeError{}
						}
						if !sameError(err, want, int64(limit)) || err == nil && string(got) != data {
							t.Errorf("%q of %d bytes, limit %d: %d bytes, %v", encoding, size, limit, len(got), err)
						}
						if encoding != "" && cap(got) > max(room, limit+1) {
							t.Errorf("%q of %d bytes, limit %d: takes %d bytes", encoding, size, limit, cap(got))
						}
					}
				}
			}
		}
	}
}

// TestDecodeContentAsks: what unpacks to more than its limit is unpacked as one that may be
// so large from the start, and no memory is taken that was not asked for.
func TestDecodeContentAsks(t *testing.T) {
	const first, most = 1000, 40_000
	for _, size := range []int{0, first, first + 1, 2*first + 1, 10_000, most, most + 1, 3 * most} {
		data := strings.Repeat("ab\n", size)[:size]
		for encoding, bodies := range map[string][]string{
			"gzip":   {string(gzipped(t, data)), string(gzipped(t, data[:size/3])) + string(gzipped(t, data[size/3:])), string(gzipped(t, data)) + "junk"},
			"snappy": {string(snapped(t, data)), string(snapped(t, data, s2.WriterUncompressed(), s2.WriterBlockSize(4<<10))), string(snapped(t, data)) + "junk"},
		} {
			for i, body := range bodies {
				want, wantErr := DecodeContent(nil, encoding, []byte(body), most, nil)
				allowed := int64(first)
				got, err := DecodeContent(nil, encoding, []byte(body), first, func(limit int64) int64 {
					if limit != allowed {
						t.Errorf("more than %d bytes is asked for, more than %d were allowed", limit, allowed)
					}
					allowed = min(2*limit, most)
					return allowed
				})
				if fmt.Sprint(err) != fmt.Sprint(wantErr) || !bytes.Equal(got, want) {
					t.Errorf("%s %d of %d bytes: %d bytes and %v, want %d and %v", encoding, i, size, len(got), err, len(want), wantErr)
				}
				if allowed > max(first, 2*int64(size)) || int64(cap(got)) > allowed+1 {
					t.Errorf("%s %d of %d bytes: %d were asked for, and %d are taken", encoding, i, size, allowed, cap(got))
				}
			}
		}
	}
}

func TestTooLargeErrorText(t *testing.T) {
	err := &TooLargeError{What: "decoded body", Limit: 1024}
	if want := "decoded body too large, limit: 1024 bytes"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

// bomb is a little gzip that unpacks to a gigabyte.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	// One mebibyte makes a member of a kilobyte, which is repeated.
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(b.Bytes(), 1<<10)
}

func TestDecodeContentBomb(t *testing.T) {
	const limit = 4 << 20
	block := strings.Repeat("\x00", 1<<16)
	for encoding, body := range map[string][]byte{
		"gzip":   bomb(t),
		"snappy": []byte(snappyStart + strings.Repeat(snappyChunk(0, string(snappy.Encode(nil, []byte(block))), block), 1<<14)),
	} {
		taken := allocated(func() {
			if _, err := DecodeContent(nil, encoding, body, limit, nil); !sameError(err, &TooLargeError{}, limit) {
				t.Errorf("%s: %v, want a *TooLargeError", encoding, err)
			}
		})
		// All that was ever allocated, memory given up in growing included.
		if taken > 4*limit {
			t.Errorf("%s: %d bytes in unpack into %d bytes of memory, limit %d", encoding, len(body), taken, limit)
		}
	}
}

// TestDecodeContentClaims: what a gzip file claims to unpack to is made room for at once, if it
// may be so much; one that lies takes no more than that, and is refused.
func TestDecodeContentClaims(t *testing.T) {
	const size, limit, reader = 1 << 20, 4 << 20, 100 << 10
	data := strings.Repeat("ab\n", size)[:size]
	honest := gzipped(t, data)
	claiming := func(size uint32) []byte {
		return binary.LittleEndian.AppendUint32(bytes.Clone(honest[:len(honest)-4]), size)
	}
	for name, c := range map[string]struct {
		body []byte
		most uint64
		lies bool
	}{
		"as it is":               {body: honest, most: size + reader},
		"more":                   {body: claiming(2 * size), most: 2*size + reader, lies: true},
		"less":                   {body: claiming(1), most: 4*size + reader, lies: true},
		"more than it may":       {body: claiming(limit), most: 4*size + reader, lies: true},
		"as much as can be said": {body: claiming(math.MaxUint32), most: 4*size + reader, lies: true},
	} {
		taken := allocated(func() {
			got, err := DecodeContent(nil, "gzip", c.body, limit, nil)
			if (err != nil) != c.lies || err == nil && string(got) != data {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		})
		if taken > c.most {
			t.Errorf("%s: %d bytes of memory, want at most %d", name, taken, c.most)
		}
	}
}

// Readers are shared: what one body leaves behind must not show in another.
func TestDecodeContentConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			want := strings.Repeat(fmt.Sprintf("metric_%d 1\n", i), 1000+i)
			good := gzipped(t, want)
			var dst []byte
			for range 20 {
				if _, err := DecodeContent(nil, "gzip", good[:len(good)/2], 1<<20, nil); err == nil {
					t.Error("half a body is decoded")
				}
				got, err := DecodeContent(dst, "gzip", good, 1<<20, nil)
				if err != nil || string(got) != want {
					t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
				}
				dst = got
			}
		})
	}
	wg.Wait()
}

func FuzzDecodeContent(f *testing.F) {
	text := "m{a=\"b\"} 1\n"
	gz, sz := gzipped(f, text), snapped(f, text)
	for _, body := range [][]byte{
		nil, gz, gz[:len(gz)-3], append(bytes.Clone(gz), gz...), append(bytes.Clone(gz), "junk and more"...), gzipped(f, strings.Repeat("x", 5000)),
		sz, sz[:len(sz)-3], snapped(f, strings.Repeat("ab", 5000)), []byte(snappyStart + snappyChunk(1, text, text)),
		[]byte(snappyStart + rawChunk(0xfe, "pad")),
		[]byte("\x1f\x8b\b\x00\x00\x00\x00\x00900$\x00\x00 "), // corrupt, and cut: decoders tell one or the other
	} {
		f.Add("gzip", body)
		f.Add("snappy", body)
		f.Add("", body)
	}
	f.Fuzz(func(t *testing.T, encoding string, body []byte) {
		const limit = 4096
		sent := bytes.Clone(body)
		got, err := DecodeContent(nil, encoding, body, limit, nil)
		if len(got) > limit {
			t.Errorf("%d bytes, limit %d", len(got), limit)
		}
		if !bytes.Equal(sent, body) {
			t.Error("the body was written to")
		}
		var want []byte
		var wantErr error
		switch strings.ToLower(encoding) {
		case "gzip":
			want, wantErr = readAll(gzip.NewReader(bytes.NewReader(body)))
		case "snappy":
			// The reader at hand takes S2 as well: what it refuses is refused.
			want, wantErr = readAll(snappy.NewReader(bytes.NewReader(body)), nil)
		default:
			want = body
		}
		lower := strings.ToLower(encoding)
		if (lower == "gzip" || lower == "snappy") && cap(got) > limit+1 {
			t.Errorf("%d bytes take %d, limit %d", len(got), cap(got), limit)
		}
		if err == nil && (wantErr != nil || !bytes.Equal(got, want)) {
			t.Errorf("%q: decodes to %q, want %q, %v", encoding, got, want, wantErr)
		}
		_, tooLarge := errors.AsType[*TooLargeError](err)
		bad, refused := errors.AsType[*Error](err)
		if err != nil && !refused && !tooLarge {
			t.Errorf("%v is none of the promised errors", err)
		}
		if refused && lower == "gzip" && !reservedFlags(body) {
			// How far a broken stream was read is no two decoders' common ground.
			corrupt := strings.HasPrefix(bad.Reason, "flate: ") || wantErr != nil && strings.HasPrefix(wantErr.Error(), "flate: ")
			if wantErr == nil || bad.Reason != wantErr.Error() && !corrupt {
				t.Errorf("refused with %v, by the standard library with %v", err, wantErr)
			}
		}
		if wantErr == nil && tooLarge && len(want) <= limit {
			t.Errorf("%d bytes are too large, limit %d", len(want), limit)
		}
	})
}

// reservedFlags reports whether something in the body may be the header of a
// gzip member with flags that RFC 1952 tells decoders to refuse. The standard
// library ignores them.
func reservedFlags(body []byte) bool {
	for {
		i := bytes.Index(body, []byte("\x1f\x8b\x08"))
		if i < 0 || i+3 == len(body) {
			return false
		}
		if body[i+3]>>5 != 0 {
			return true
		}
		body = body[i+3:]
	}
}

// readAll reads a little more than the fuzz test's limit.
func readAll(r io.Reader, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 1<<20))
}

func TestIsProtobuf(t *testing.T) {
	for contentType, want := range map[string]bool{
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited":                      true,
		"Application/VND.Google.Protobuf;Encoding=delimited;PROTO=io.prometheus.client.MetricFamily":                        true,
		`application/vnd.google.protobuf; proto="io.prometheus.client.MetricFamily"; encoding="delimited"; escaping=values`: true,

		"application/vnd.google.protobuf":                                                                             false,
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily":                                    false,
		"application/vnd.google.protobuf; encoding=delimited":                                                         false,
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text":                     false,
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=Delimited":                false,
		"application/vnd.google.protobuf; proto=io.prometheus.client.metricfamily; encoding=delimited":                false,
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; encoding=text": false,
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; =":             false,
		"application/x-protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited":                         false,
		"": false,
		"text/plain; version=0.0.4; charset=utf-8": false,
		"application/x-www-form-urlencoded":        false,
		"application/openmetrics-text":             false,
		"garbage;;;":                               false,
	} {
		if got := IsProtobuf(contentType); got != want {
			t.Errorf("IsProtobuf(%q) = %v", contentType, got)
		}
	}
}

package wire

import "testing"

// TestBufferClasses checks that the buffers of a class are large enough, waste at most a fifth, and return to the
// same class.
func TestBufferClasses(t *testing.T) {
	before := -1
	for size := bufferSize + 1; size <= 1<<maxShift; size += size/97 + 1 {
		i, bytes := class(size)
		if i < before || i >= len(buffers) || bytes < size || (bytes-size)*5 > bytes {
			t.Fatalf("%d bytes are in class %d of %d bytes", size, i, bytes)
		}
		if class2, bytes2 := class(bytes); class2 != i || bytes2 != bytes {
			t.Fatalf("a buffer of class %d, %d bytes, returns to class %d, %d bytes", i, bytes, class2, bytes2)
		}
		before = i
	}
	if before != len(buffers)-1 {
		t.Errorf("the last class is %d of %d", before, len(buffers))
	}
	for _, size := range []int{1, bufferSize, 1<<maxShift + 1} {
		if i, bytes := class(size); i >= 0 || bytes != size {
			t.Errorf("%d bytes have class %d", size, i)
		}
	}
}

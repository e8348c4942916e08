// Package storagetest is the contract of package storage as a test suite. A driver or a wrapper is complete when [Run]
// passes:
//
//	func TestConformance(t *testing.T) {
//		storagetest.Run(t, storagetest.Harness{Durable: true, Open: func(
//			t testing.TB, dir string, now func() time.Time,
//		) (storage.Store, error) {
//			return mydriver.Open(mydriver.Options{Path: dir, Now: now})
//		}})
//	}
//
// It must never know how any driver works. It uses what package storage promises, a folder, a clock, and a process that
// it may kill. [Bench] measures all drivers alike. [Faulty] is a store whose operations a test can make fail or wait.
//
// Begin reading at [Harness]; each file is named after the part of the contract that it tests. The last part is
// random.go, a run of random operations that is compared with storage/memory.
package storagetest

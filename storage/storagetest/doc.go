// Package storagetest is the contract of package storage as a test suite. A driver or a wrapper is done when [Run]
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
// It must never know how any driver works: it sees what package storage promises, a folder, a clock and a process that
// it may kill. [Bench] measures all drivers alike. [Faulty] is a store whose operations fail or wait when a test wants
// them to.
//
// Begin reading at [Harness]; the file names say which sentence of the contract each part is about. It ends in
// random.go, with a run of random operations compared against storage/memory.
package storagetest

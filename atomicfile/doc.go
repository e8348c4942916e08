// Package atomicfile replaces files so that a crash leaves either the old content or the new, and nothing in between.
//
// Files are named within an open folder. A folder that is replaced meanwhile, or a link that another user puts there,
// cannot redirect a write.
//
// The package must never know what the files are for.
//
// Begin reading at [Replace].
package atomicfile

// Package guards proves that each of the service's guards is one: a variant of the source without it is compiled over the
// shipped code (go test -overlay), and a test must then fail for the right reason. Nothing in the shipped code knows of it.
package guards

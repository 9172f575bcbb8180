package worker

// Backoff is the retry policy, for the tests that hold it to its bounds.
var Backoff = backoff

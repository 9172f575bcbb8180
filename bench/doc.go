// Package bench measures what a closure costs: closures a second, CPU by process, bytes, round trips and promptness, beside the
// floor, which is a bare Asynq chain of as many steps with as many commits and the same reads of the broker, and nothing
// else. Both are measured in one run, in one process, on the same servers: what is compared are ratios, since figures of
// different machines or hours can't be.
package bench

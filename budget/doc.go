// Package budget stands between this service and the broker's patience. Alpaca limits the calls of a correspondent, whoever
// makes them: all replicas share one budget through Redis, in which instructions come before questions of people, and those
// before looks. It also knows when the broker is away, and when it refuses our credentials: then nobody asks.
package budget

// Package handlers carries out visits: one Asynq task is one visit of one closure. The runner is written once; it loads
// the row, calls the phase, saves what the phase found and schedules the next visit. A phase looks at the world, asks for
// at most one effect through the visit's one door, and returns what happens next. There is no HTTP here, and no SQL and
// no asynq in a phase.
package handlers

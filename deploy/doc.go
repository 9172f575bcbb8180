// Package deploy has no code, only what operations load: alerts, a dashboard, configuration. Its tests hold each to what the code
// emits and to what the tools that load it take.
package deploy

//go:generate go test -run ^(TestDashboard|TestTheRunbook)$ -update .

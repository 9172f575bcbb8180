// Package checks holds what deploys Closeout, the image, compose, the Helm chart and ECS, to the tools that will read it and to the
// program: it has tests alone. It reads the files beside it, imports nothing of the service and asks no network.
package checks

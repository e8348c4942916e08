package admin

import (
	"net/http"
	"net/http/pprof"
	"time"
)

const profilePath = "/debug/pprof/"

// profileTimeout limits a profile, whose duration the request chooses.
const profileTimeout = 10 * time.Minute

// profiles adds the profiles of the Go runtime, at the paths that `go tool pprof` requests.
func profiles(mux *http.ServeMux) {
	for path, serve := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol,
		"trace": pprof.Trace,
	} {
		mux.HandleFunc(profilePath+path, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(profileTimeout))
			serve(w, r)
		})
	}
}

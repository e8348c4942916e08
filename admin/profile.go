package admin

import (
	"net/http"
	"net/http/pprof"
	"time"
)

const profilePath = "/debug/pprof/"

// profileTimeout is for a profile, which is taken for as long as the request says.
const profileTimeout = 10 * time.Minute

// profiles adds those of the Go runtime, by the names that `go tool pprof` knows.
func profiles(mux *http.ServeMux) {
	for path, serve := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		mux.HandleFunc(profilePath+path, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(profileTimeout))
			serve(w, r)
		})
	}
}

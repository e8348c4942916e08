package servertest

import (
	"io"
	"net/http"
	"testing"

	"sessionserver/server/servertest/require"
)

// Get requests a page, with headers given as names and values in turn, and returns its status and text.
func Get(t testing.TB, client *http.Client, url string, header ...string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"sessionserver/client"
)

func ExampleDial() {
	ctx := context.Background()

	// tls://shop:hss_…@sessions.example.com:9090/acme
	c, err := client.Dial(ctx, os.Getenv("SESSION_DSN"), client.Options{})
	if err != nil {
		log.Fatal(err) // the error contains no secret
	}
	defer c.Close()

	fmt.Println(c.Ping(ctx))
	// Output: <nil>
}

func ExampleClient_New() {
	ctx := context.Background()
	c := mustDial(ctx)
	defer c.Close()

	s, err := c.New(ctx, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Abort(ctx) // no effect after Close

	if err := s.Put(ctx, "user", "alice"); err != nil {
		log.Fatal(err)
	}
	if err := s.Close(ctx); err != nil { // saves the session and releases the lock
		log.Fatal(err)
	}

	fmt.Println(len(s.ID())) // the id for the cookie
	// Output: 32
}

func ExampleClient_Open() {
	ctx := context.Background()
	c := mustDial(ctx)
	defer c.Close()
	id := mustSave(ctx, c, "user", "alice")

	s, err := c.Open(ctx, id, client.OpenOptions{Mode: client.ModeUpdate, Wait: 5 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Abort(ctx)

	user, ok, err := s.Get(ctx, "user")
	fmt.Println(user, ok, err)

	// A new id at log-in; the old one remains valid for 10 seconds.
	if _, err := s.Regenerate(ctx, 10*time.Second); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.ID() != id, s.Close(ctx))
	// Output:
	// alice true <nil>
	// true <nil>
}

func ExampleClient_Update() {
	ctx := context.Background()
	c := mustDial(ctx)
	defer c.Close()
	id := mustSave(ctx, c, "user", "alice")

	err := c.Update(ctx, id, func(v *client.Values) error {
		visits, err := v.Int("visits")
		if err != nil {
			return err // nothing is saved
		}
		v.SetInt("visits", visits+1)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}

	v, err := c.View(ctx, id) // the values saved last, without a lock
	if err != nil {
		log.Fatal(err)
	}
	for key, value := range v.All() {
		fmt.Println(key, value)
	}
	// Output:
	// user alice
	// visits 1
}

func ExampleClient_Load() {
	ctx := context.Background()
	c := mustDial(ctx)
	defer c.Close()
	id := mustSave(ctx, c, "user", "alice")

	// When a request begins:
	s, v, err := c.Load(ctx, id, client.OpenOptions{Mode: client.ModeUpdate})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Abort(ctx) // if the request fails

	// While the request is handled, without a round trip:
	fmt.Println(v.Get("user"))
	v.Set("theme", "dark")

	// When the request ends; only the changes are sent:
	if err := s.Save(ctx, v); err != nil {
		log.Fatal(err)
	}
	// Output: alice
}

func ExampleError() {
	ctx := context.Background()
	c := mustDial(ctx)
	defer c.Close()

	_, err := c.View(ctx, "an-unknown-session-id")

	var refused *client.Error
	var broken *client.ConnError
	switch {
	case errors.Is(err, client.ErrNotFound):
		fmt.Println("the session has ended: create a new one")
	case errors.Is(err, client.ErrLockTimeout), errors.Is(err, client.ErrUnavailable):
		fmt.Println("try again later")
	case errors.As(err, &refused):
		fmt.Println("refused:", refused.Code, refused.Message)
	case errors.As(err, &broken):
		fmt.Println("no connection:", broken.Err)
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("deadline exceeded")
	}
	// Output: the session has ended: create a new one
}

func mustDial(ctx context.Context) *client.Client {
	c, err := client.Dial(ctx, os.Getenv("SESSION_DSN"), client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func mustSave(ctx context.Context, c *client.Client, key, value string) (id string) {
	s, err := c.New(ctx, 0)
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(s.Put(ctx, key, value), s.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	return s.ID()
}

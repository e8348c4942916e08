package certs

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger returns a logger for certmagic that writes to log. Progress is logged at debug level, as it serves
// debugging only. Errors are warnings, because this package logs the outcome itself. No level exceeds highest.
func zapLogger(log *slog.Logger, highest slog.Level) *zap.Logger {
	return zap.New(&zapCore{log: log, highest: highest})
}

type zapCore struct {
	log     *slog.Logger
	highest slog.Level
	fields  []zapcore.Field
}

var _ zapcore.Core = (*zapCore)(nil)

func (c *zapCore) level(l zapcore.Level) slog.Level {
	if l < zapcore.WarnLevel {
		return slog.LevelDebug
	}
	return min(slog.LevelWarn, c.highest)
}

func (c *zapCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), c.level(l))
}

func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{c.log, c.highest, slices.Concat(c.fields, fields)}
}

func (c *zapCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) {
		return checked
	}
	return checked.AddCore(entry, c)
}

func (c *zapCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, field := range slices.Concat(c.fields, fields) {
		field.AddTo(values)
	}
	var attrs []slog.Attr
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		attrs = append(attrs, slog.Any(key, values.Fields[key]))
	}
	c.log.LogAttrs(context.Background(), c.level(entry.Level), "certmagic: "+entry.Message, attrs...)
	return nil
}

func (c *zapCore) Sync() error { return nil }

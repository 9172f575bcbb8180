package ledger

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// connector opens SQLite connections that keep their prepared statements. The ledger's texts are few and come again with
// every visit, and to parse one takes SQLite longer than to carry it out. On Postgres the driver does the same by itself.
type connector struct{ driver.Connector }

// newConnector is a connector for a DSN of the SQLite driver.
func newConnector(dsn string) (connector, error) {
	c, err := sqlite.NewConnector(dsn)
	return connector{c}, err
}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	plain, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := plain.(sqliteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a connection of type %T lacks what is built upon", plain), plain.Close())
	}
	return &keeper{full, map[string]*statement{}}, nil
}

// sqliteConn is all that database/sql makes use of in a connection of the driver's.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keeper is a connection that keeps the statement of each text with arguments: those without are migrations, which come
// once. database/sql never uses a connection from two goroutines at once.
type keeper struct {
	sqliteConn
	kept map[string]*statement
}

// sqliteStmt is all that is made use of in a statement of the driver's.
type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// statement is one that is kept, and whether its rows are being read at the moment.
type statement struct {
	sqliteStmt
	reading bool
}

// take gives the kept statement of a text; ok is false where the text is not one to keep, or its statement is in use.
func (k *keeper) take(ctx context.Context, text string, args []driver.NamedValue) (s *statement, ok bool, err error) {
	if len(args) == 0 {
		return nil, false, nil
	}
	if s = k.kept[text]; s != nil {
		return s, !s.reading, nil
	}
	plain, err := k.PrepareContext(ctx, text)
	if err != nil {
		return nil, false, err
	}
	full, ok := plain.(sqliteStmt)
	if !ok {
		return nil, false, plain.Close()
	}
	s = &statement{sqliteStmt: full}
	k.kept[text] = s
	return s, true, nil
}

// ExecContext implements driver.ExecerContext.
func (k *keeper) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	s, ok, err := k.take(ctx, text, args)
	if err != nil {
		return nil, err
	}
	if !ok {
		return k.sqliteConn.ExecContext(ctx, text, args)
	}
	return s.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (k *keeper) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, ok, err := k.take(ctx, text, args)
	if err != nil {
		return nil, err
	}
	if !ok {
		return k.sqliteConn.QueryContext(ctx, text, args)
	}
	r, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.reading = true
	return rows{r, s}, nil
}

// Close gives up the kept statements, and then the connection.
func (k *keeper) Close() error {
	var errs []error
	for _, s := range k.kept {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, k.sqliteConn.Close())...)
}

// rows are those of a kept statement, which is free again once they are closed.
type rows struct {
	driver.Rows
	of *statement
}

// Close implements driver.Rows.
func (r rows) Close() error {
	r.of.reading = false
	return r.Rows.Close()
}

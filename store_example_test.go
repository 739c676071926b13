package oauth2_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"example.com/oauth2"
)

// sqlStore is an oauth2.Store that keeps a sign-in as a row of a database, which many machines can
// share. The table, as PostgreSQL has it:
//
//	CREATE TABLE credentials (name text PRIMARY KEY, data bytea)
//
// What is in data are secrets: restrict who can read the table, and its backups.
type sqlStore struct {
	db   *sql.DB
	name string // of the row
}

func (s *sqlStore) Load(ctx context.Context) (data []byte, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT data FROM credentials WHERE name = $1", s.name).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return data, err
}

// Update locks the row for as long as fn takes, which may be a minute where a server is slow to refresh a token:
// let no timeout, of the database or a proxy before it, end an idle transaction sooner.
func (s *sqlStore) Update(ctx context.Context, fn func(old []byte) (new []byte, err error)) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	// There must be a row, so that it can be locked. An erased one stays, with NULL in it.
	const insert = "INSERT INTO credentials (name) VALUES ($1) ON CONFLICT DO NOTHING"
	if _, err := tx.ExecContext(ctx, insert, s.name); err != nil {
		return err
	}
	var old []byte
	const query = "SELECT data FROM credentials WHERE name = $1 FOR UPDATE"
	if err := tx.QueryRowContext(ctx, query, s.name).Scan(&old); err != nil {
		return err
	}
	data, err := fn(old)
	if err != nil || bytes.Equal(data, old) {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE credentials SET data = $2 WHERE name = $1", s.name, data); err != nil {
		return err
	}
	return tx.Commit()
}

// A row in PostgreSQL as the Store of a program that runs on many machines. They refresh one after the other,
// and the others take over what one has obtained.
func ExampleStore() {
	db, err := sql.Open("pgx", "postgres://app@db.example.com/app") // import _ "github.com/jackc/pgx/v5/stdlib"
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx := context.Background()
	creds, err := oauth2.LoadCredentials(ctx, nil, &sqlStore{db, "reports@example.com"})
	if errors.Is(err, oauth2.ErrLoginRequired) {
		log.Fatal("nobody has signed in: run the program once where there is a browser")
	}
	if err != nil {
		log.Fatal(err)
	}
	resp, err := oauth2.NewClient(creds).Get("https://www.googleapis.com/oauth2/v2/userinfo")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}

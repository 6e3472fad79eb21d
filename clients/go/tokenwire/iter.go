//go:build go1.23

package tokenwire

import "iter"

// All ranges over the updates of the stream, and closes it when the loop is left. Where the stream fails, the last pair has
// its error and no update.
//
//	for update, err := range client.Stream(ctx, request).All() {
//		if err != nil {
//			return err
//		}
//		fmt.Print(update.Text())
//	}
func (s *Stream) All() iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		defer s.Close()
		for s.Next() {
			if !yield(s.Update(), nil) {
				return
			}
		}
		if s.Err() != nil {
			yield(Update{}, s.Err())
		}
	}
}

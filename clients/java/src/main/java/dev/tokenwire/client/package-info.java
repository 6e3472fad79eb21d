/**
 * A client of Tokenwire: chat with a model over gRPC.
 *
 * <p>Requests and answers are the generated messages of {@code dev.tokenwire.v1}, the contract. {@link
 * dev.tokenwire.client.TokenwireClient} is where to begin. No parameter may be null, and nothing that is returned is.
 */
package dev.tokenwire.client;

package dev.tokenwire.client;

import java.io.Serializable;

/**
 * One field that breaks its rule, or a limit that is used up.
 *
 * @param field path of the field in the contract ({@code messages[0].role}), or whose limit and which
 *     ({@code key:alice/requests_per_minute})
 * @param description what is wrong with it
 */
public record FieldViolation(String field, String description) implements Serializable {}

<?php
// Returns the bytes that put.php has stored.

require __DIR__ . '/page.php';

session_start();
if ($_SESSION["k\0e\r\ny 🗝️"] != ['🦊', 'größer', "\xff\xfe", new ArrayObject([1, null, -0.5])]) {
    throw new UnexpectedValueException(var_export($_SESSION["k\0e\r\ny 🗝️"] ?? null, true));
}
header('Content-Type: application/octet-stream');
echo $_SESSION['data'];

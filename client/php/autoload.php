<?php

declare(strict_types=1);

/**
 * Loads the classes of the namespace SessionServer without Composer.
 */
spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'SessionServer\\')) {
        $file = __DIR__ . '/src/' . strtr(substr($class, 14), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;
        }
    }
});

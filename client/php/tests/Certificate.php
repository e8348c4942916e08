<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * Certificates for tests.
 */
final class Certificate
{
    /**
     * Writes DIR/NAME.pem and DIR/NAME.key. Without an authority the certificate is self-signed.
     *
     * @return array{\OpenSSLCertificate, \OpenSSLAsymmetricKey}
     */
    public static function make(
        string $dir,
        string $name,
        ?\OpenSSLCertificate $ca = null,
        ?\OpenSSLAsymmetricKey $caKey = null,
        string $extensions = 'server',
    ): array {
        $config = "$dir/openssl.cnf";
        file_put_contents($config, <<<'CNF'
            [req]
            distinguished_name = dn
            [dn]
            [v3_ca]
            basicConstraints = critical, CA:TRUE
            [server]
            basicConstraints = CA:FALSE
            subjectAltName = DNS:localhost
            [client]
            basicConstraints = CA:FALSE
            extendedKeyUsage = clientAuth
            CNF);
        $options = ['config' => $config, 'x509_extensions' => $extensions, 'digest_alg' => 'sha256',
            'private_key_bits' => 2048, 'private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'prime256v1'];
        $key = openssl_pkey_new($options);
        $request = openssl_csr_new(['commonName' => $name], $key, $options);
        $certificate = openssl_csr_sign($request, $ca, $caKey ?? $key, 1, $options, random_int(1, PHP_INT_MAX));
        openssl_x509_export_to_file($certificate, "$dir/$name.pem");
        openssl_pkey_export_to_file($key, "$dir/$name.key", null, $options);
        return [$certificate, $key];
    }
}
